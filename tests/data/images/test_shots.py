"""Training on some images of each class."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import tiny_backbone
from tests.data.core.test_loading import digits
from tests.data.images.test_folder import AUGMENTATION, TEXTS
from tests.data.shards.helpers import seen, shards, write
from tests.images import grey_pixels, write_image
from tracer_lightning.data import ColouredDigitsDataModule, ImageFolderDataModule

CLASSES = ["big_dog", "cat", "owl"]
SIZES = [9, 7, 3]


@pytest.fixture
def pets(tmp_path):
    """Image i is of grey level i."""
    grey = 0
    for split, sizes in (("train", SIZES), ("val", [1, 1, 1])):
        for name, size in zip(CLASSES, sizes, strict=True):
            for number in range(size):
                write_image(tmp_path / "pets" / split / name / f"{number}.png", grey_pixels(grey, 40, 40))
                grey += 1
    return tmp_path / "pets"


@pytest.fixture
def sets(tmp_path):
    """Seventeen images each of two classes, and sixteen of the third."""
    for folder, split, size in (("photo", "train", 50), ("photo", "test", 6), ("sketch", "test", 6)):
        write(tmp_path / "sets" / folder, split, size)
    return tmp_path / "sets"


def classes(batches):
    return Counter(label for _, label in seen(batches))


def few(root, **options):
    defaults = {"folders": {"train": "train", "val": "val", "test": "val", "ood": {}}, "texts": TEXTS}
    defaults |= {
        "held_out": {"fraction": 0.0, "seed": 0},
        "augmentation": AUGMENTATION,
        "eval_decoder": "torchvision",
        "batch_size": 3,
        "eval_batch_size": 4,
    }
    defaults |= {"num_workers": 0, "seed": 0, "max_bad_fraction": 0.0}
    return ImageFolderDataModule(tiny_backbone().spec, str(root), **(defaults | options))


def test_few_shot_draws_from_each_class_and_keeps_small_classes(pets):
    with pytest.warns(UserWarning, match="shots=4: 1 of 3 classes have fewer images and keep all of them; 'owl' has 3"):
        loader = few(pets, shots=4).train_dataloader()
    assert len(loader) == 3  # 11 images in batches of 3
    assert classes(few(pets, shots=2).predict_dataloader()) == {0: 2, 1: 2, 2: 2}
    assert classes(few(pets, shots=2, batch_size=6).train_dataloader()) == {0: 2, 1: 2, 2: 2}
    assert few(pets, shots=2).set_size(None) == 6


def test_more_shots_than_images_select_the_full_set(pets):
    with pytest.warns(UserWarning, match="3 of 3 classes have fewer"):
        samples = seen(few(pets, shots=1000).predict_dataloader())
    assert samples == seen(few(pets).predict_dataloader())
    assert len(samples) == sum(SIZES)


def test_the_draw_depends_on_the_seed_alone_and_grows(pets):
    drawn = [seen(few(pets, shots=3, seed=seed).predict_dataloader()) for seed in range(5)]
    assert drawn[0] == seen(few(pets, shots=3, seed=0, batch_size=5, num_workers=1).predict_dataloader())
    assert len(set(map(tuple, drawn))) == 5
    assert set(seen(few(pets, shots=2, seed=0).predict_dataloader())) < set(drawn[0])


def test_ranks_share_one_draw(sets):
    def batches(rank, world):
        data = shards(sets, shots=4, batch_size=6)
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(3)
        return [batch.indices for batch in loader]

    shares = [torch.stack(batches(rank, 2)) for rank in range(2)]
    assert torch.equal(torch.stack(batches(0, 1)), torch.cat(shares, dim=1))


def test_shards_train_on_few_and_test_on_all(sets):
    data = shards(sets, shots=4, batch_size=12)
    assert classes(data.train_dataloader()) == {0: 4, 1: 4, 2: 4}
    assert [len(seen(loader)) for loader in data.test_dataloader()] == [6, 6]
    assert len(seen(data.val_dataloader())) == 6


def test_a_run_continues_with_its_draw_and_with_no_other(sets):
    data = shards(sets, shots=4, batch_size=4)
    batches = iter(data.train_dataloader())
    next(batches)
    state, expected = data.state_dict(), [batch.indices.tolist() for batch in batches]
    again = shards(sets, shots=4, batch_size=4, num_workers=1)
    again.load_state_dict(state)
    assert [batch.indices.tolist() for batch in again.train_dataloader()] == expected
    for options in ({"shots": 5}, {"shots": None}, {"shots": 4, "seed": 1}):
        resumed = shards(sets, **({"batch_size": 4} | options))
        resumed.load_state_dict(state)
        with pytest.raises(ValueError, match="resume with the same data, reader, batch size and seed"):
            resumed.train_dataloader()


def test_images_in_memory_are_drawn_likewise():
    spec = tiny_backbone().spec
    assert Counter(
        next(iter(digits(spec, shots=2, batch_size=20).train_dataloader())).labels.tolist()
    ) == dict.fromkeys(range(10), 2)
    loading = {"eval_batch_size": 100, "num_workers": 0, "seed": 0, "max_bad_fraction": 0.0}
    small = spec._replace(image_size=28)
    coloured = ColouredDigitsDataModule(small, "coloured", 0.95, batch_size=6, shots=3, **loading)
    assert Counter(next(iter(coloured.train_dataloader())).labels.tolist()) == {10: 3, 11: 3}


@pytest.mark.parametrize("shots", [0, -1])
def test_less_than_one_raises_an_error(pets, shots):
    with pytest.raises(ValueError, match=rf"shots must be >= 1 or None, got {shots}"):
        few(pets, shots=shots)


def test_few_shot_without_known_classes_raises_an_error(sets, tmp_path):
    write(tmp_path / "sets/pairs", "train", 12, classes=[], caption="number {}")
    pairs = shards(sets, train={"folder": "pairs", "split": "train"}, shots=4)
    with pytest.raises(ValueError, match=r"shots=4 counts images per class, but 12 of the 12 training images"):
        pairs.setup("fit")
    stream = shards(sets, stream=True, shots=4)
    for opened in (stream.train_dataloader, stream.predict_dataloader):
        with pytest.raises(ValueError, match=r"shots=4 requires the classes .* read the shards by index"):
            opened()
    stream.trains = False
    stream.setup("test")
    assert len(seen(stream.test_dataloader()[0])) == 6
