"""Auxiliary sets of images and captions in training batches."""

import pytest
import torch

from tests.conftest import tiny_backbone
from tests.data.core.test_loading import digits, same
from tests.data.images.test_folder import data
from tests.data.shards.helpers import served, shards, write
from tests.data.shards.test_unreadable import spoil
from tests.images import grey_pixels, write_image
from tracer_lightning.data import ColouredDigitsDataModule
from tracer_lightning.losses import CrossEntropy, InfoNCE


@pytest.fixture(scope="module")
def spec():
    return tiny_backbone().spec


def mixed(spec, ratio=0.5, level=None, **options):
    module = digits(spec, **options)
    module.mix_in({"others": digits(spec, train_styles=["plain", "thin"], evaluates=False)}, ratio, level)
    return module


def auxiliary_folder(root, **options):
    """Images of two of the classes; in the module's own numbering, cat is class 0 and owl class 1."""
    for name, level in (("cat", 200), ("owl", 220)):
        for number in range(4):
            write_image(root / "web" / name / f"{number}.png", grey_pixels(level))
    folders = {"train": "web", "val": "val", "test": "val", "ood": {"art": "art"}}
    texts = {"classnames": None, "templates": ["{c} from the web"]}
    return data(root, folders=folders, texts=texts, evaluates=False, **options)


def mixed_folders(root, ratio=0.5, **options):
    module = data(root, **options)
    module.mix_in({"web": auxiliary_folder(root, **options)}, ratio, "sample")
    return module


def test_batches_are_of_one_set_by_default(spec):
    module = mixed(spec)
    assert module.mix.level == "batch"
    loader = module.train_dataloader()
    sizes = len(digits(spec).train_dataloader()), len(loader)
    assert sizes[0] == sizes[1]
    plain = list(digits(spec).train_dataloader())
    main = [batch for batch in loader if any(torch.equal(batch.images, other.images) for other in plain)]
    assert 0 < len(main) < len(plain)
    for batch, expected in zip(main, plain, strict=False):  # the first batches of the usual order
        assert same(batch, expected)


def test_a_ratio_of_0_changes_no_batch(spec):
    for level in ("sample", "batch"):
        for batch, expected in zip(
            mixed(spec, 0.0, level).train_dataloader(), digits(spec).train_dataloader(), strict=True
        ):
            assert same(batch, expected)


@pytest.mark.parametrize("level", ["sample", "batch"])
def test_resumes_within_an_epoch_with_other_workers(spec, level):
    unbroken, resumed = mixed(spec, level=level), mixed(spec, level=level, num_workers=2)
    batches = iter(unbroken.train_dataloader())
    for _ in range(5):
        next(batches)
    resumed.load_state_dict(unbroken.state_dict())
    remaining = list(batches)
    for batch, expected in zip(resumed.train_dataloader(), remaining, strict=True):
        assert same(batch, expected)


def test_equal_class_names_share_labels(spec):
    batches = list(mixed(spec, level="sample").train_dataloader())
    assert set(torch.cat([batch.labels for batch in batches]).tolist()) == set(range(10))


def test_other_classes_have_other_labels(folder_root):
    module = mixed_folders(folder_root)
    captions = {}
    for epoch in range(4):
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            levels = batch.images.float().mean((1, 2, 3)).round().int().tolist()
            rows = zip(levels, batch.labels.tolist(), batch.texts[batch.text_of].tolist(), strict=True)
            captions |= {(level, label): text for level, label, text in rows}
    expected = {(40, 0): "a big dog.", (100, 1): "a cat.", (160, 2): "a owl."}
    expected |= {(200, 3): "cat from the web", (220, 4): "owl from the web"}
    assert captions.keys() == expected.keys()
    for key, text in expected.items():
        tokens = module.spec.tokenize([text])[0].tolist()
        assert [token for token in captions[key] if token] == [token for token in tokens if token]


def test_sets_of_equal_class_names_share_labels(folder_root):
    module = data(folder_root)
    sets = {name: auxiliary_folder(folder_root) for name in ("first", "second")}
    module.mix_in(sets, 0.9, "sample")
    batches = list(module.train_dataloader()) + list(module.train_dataloader())
    assert set(torch.cat([batch.labels for batch in batches]).tolist()) <= {0, 1, 2, 3, 4}


def test_pairs_without_classes_have_no_labels(tmp_path):
    write(tmp_path / "sets/photo", "train", 50)
    for folder in ("photo", "sketch"):
        write(tmp_path / "sets" / folder, "test", 6)
    write(tmp_path / "sets/pairs", "train", 20, classes=[], caption="image number {}")
    module = shards(tmp_path / "sets")
    pairs = shards(tmp_path / "sets", train={"folder": "pairs", "split": "train"}, evaluates=False)
    module.mix_in({"pairs": pairs}, 0.5, "sample")
    batches = list(module.train_dataloader())
    labels = torch.cat([batch.labels for batch in batches])
    assert set(labels.tolist()) == {-1, 0, 1, 2}
    assert 10 < (labels == -1).sum() < 40


def test_shards_of_other_classes_need_no_test_sets(tmp_path):
    write(tmp_path / "sets/photo", "train", 50)
    for folder in ("photo", "sketch"):
        write(tmp_path / "sets" / folder, "test", 6)
    write(tmp_path / "sets/web", "train", 20, classes=["red", "green", "blue", "grey"])
    module = shards(tmp_path / "sets")
    web = shards(tmp_path / "sets", train={"folder": "web", "split": "train"}, evaluates=False)
    module.mix_in({"web": web}, 0.5)
    batches = list(module.train_dataloader())
    assert {frozenset(batch.labels.tolist()) <= {0, 1, 2} for batch in batches} == {True, False}
    assert set(torch.cat([batch.labels for batch in batches]).tolist()) <= {0, 1, 2, 3, 4, 5}


def test_remote_shards_are_downloaded_before_training(shard_root, tmp_path):
    with served(shard_root) as address:
        module, sketch = (
            shards(address, cache_dir=str(tmp_path / folder), train={"folder": folder, "split": split}, evaluates=main)
            for folder, split, main in (("photo", "train", True), ("sketch", "test", False))
        )
        module.mix_in({"sketch": sketch}, 0.5)
        module.prepare_data()
    assert len(list((tmp_path / "sketch").rglob("*.tar"))) == 2


def test_few_shot_training_is_of_the_main_set(spec):
    module = mixed(spec, level="sample", shots=10)
    assert module.train_dataloader().sampler.sizes == {"others": 2 * len(digits(spec).train_source())}
    assert len(module.train_dataloader()) == 1


def test_images_in_memory_give_the_same_batches(folder_root):
    module = mixed_folders(folder_root, in_memory=True)
    for batch, expected in zip(
        module.train_dataloader(), mixed_folders(folder_root, in_memory=False).train_dataloader(), strict=True
    ):
        assert same(batch, expected)
    assert "12 training images are kept in memory, decoded: 0 MB; of web, 8 training images" in module.about_memory()


def test_unreadable_images_are_counted_by_set(folder_root):
    module = mixed_folders(folder_root, 0.9, max_bad_fraction=0.1)
    spoil(folder_root.glob("web/cat/*"), 1)
    for batch in module.train_dataloader():
        module.on_after_batch_transfer(batch, 0)
    (location,) = module.unreadable
    assert location.startswith(f"auxiliary set web: {folder_root}/web/cat/0.png: ")
    assert module.epoch_counts()["unreadable"] > 0
    module = mixed_folders(folder_root, 0.9, max_bad_fraction=0.1)
    spoil(folder_root.glob("web/*/0.png"))
    batches = list(module.train_dataloader())
    with pytest.raises(ValueError, match=r"2 images can't be read.* of the 8 that this process reads of the set web"):
        [module.on_after_batch_transfer(batch, 0) for batch in batches]


def test_a_head_needs_the_training_classes(folder_root, spec):
    reads = frozenset({"logits", "labels"})
    with pytest.raises(ValueError, match=r"mix\.sets\.web has other classes than the training set, among which a head"):
        mixed_folders(folder_root).check_losses(reads, [CrossEntropy()])
    mixed_folders(folder_root).check_losses(frozenset({"image", "text"}), [InfoNCE("same_label")])
    mixed(spec).check_losses(reads, [CrossEntropy()])
    coloured = ColouredDigitsDataModule(
        spec._replace(image_size=28), "coloured", 0.95, batch_size=8, eval_batch_size=8, num_workers=0, seed=0,
        max_bad_fraction=0.0,
    )  # fmt: skip
    assert not coloured.has_classes_of(mixed(spec))


def test_what_can_not_be_mixed_is_refused(spec, folder_root, shard_root):
    with pytest.raises(ValueError, match="pairs of images and templates are drawn from one set; remove the auxiliary"):
        mixed(spec).draw_image_template_pairs()
    stream = shards(shard_root, stream=True)
    with pytest.raises(ValueError, match="drawn by position, which streams don't provide; read the shards by index"):
        stream.mix_in({"web": shards(shard_root, evaluates=False)}, 0.5)
