"""Images that are kept decoded give the batches of those that are decoded each time."""

import functools
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tests.data.images.test_folder import data
from tests.data.shards.helpers import shards, write
from tests.data.test_modes import IMAGES, LEFT_OUT
from tests.images import encode, random_pixels
from tracer_lightning.data.core.workers import init_worker
from tracer_lightning.data.images import datamodule, in_memory
from tracer_lightning.data.images.in_memory import DecodedSource, PackedTexts

EPOCHS = 3
AUGMENTATION = {"crop_scale": [0.3, 1.0], "flip": 0.5}


def odd_images():
    """Encoded images of every mode, of several sizes, animated and unreadable."""
    frames = [Image.new("RGB", (30, 40), colour) for colour in ("red", "blue")]
    yield from (content for content, _ in (*IMAGES.values(), *LEFT_OUT.values()))
    for number, (height, width) in enumerate([(33, 20), (32, 32), (90, 31), (64, 64), (20, 25), (3, 250)]):
        for form in ("JPEG", "PNG", "WEBP", "BMP"):
            yield encode(random_pixels(height, width, number), form)
    yield encode(random_pixels(), "JPEG", "CMYK")
    yield encode(random_pixels(), "JPEG", "L")
    yield from (encode(frames[0], form, save_all=True, append_images=frames[1:]) for form in ("WEBP", "GIF", "PNG"))
    yield from (b"", b"<html>", encode(random_pixels(), "JPEG")[:300], encode(random_pixels())[:-40])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folders of odd images, which classes and splits share."""
    root = tmp_path_factory.mktemp("odd")
    for number, content in enumerate(odd_images()):
        for split in ("train", "val", "art"):
            folder = root / split / ["cat", "dog"][number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:03}.png").write_bytes(content)
    return root


def equal(first, second):
    return all(
        torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two
        for one, two in zip(first, second, strict=True)
    )


def epochs(module):
    """Training batches of several epochs."""
    batches = []
    for epoch in range(EPOCHS):
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def assert_same_batches(encoded, decoded):
    expected, actual = epochs(encoded), epochs(decoded)
    loaders = (lambda m: [m.val_dataloader()], lambda m: m.test_dataloader(), lambda m: [m.predict_dataloader()])
    for select in loaders:
        expected += [batch for loader in select(encoded) for batch in loader]
        actual += [batch for loader in select(decoded) for batch in loader]
    assert len(expected) == len(actual)
    assert all(equal(*pair) for pair in zip(expected, actual, strict=True))
    assert any(batch.unreadable for batch in expected)
    for source in decoded._decoded.values():
        assert source is not None


@pytest.mark.parametrize("eval_decoder", ["torchvision", "pil"])
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_batches_of_odd_images_are_the_same(root, eval_decoder, workers):
    options = {"eval_decoder": eval_decoder, "num_workers": workers, "augmentation": AUGMENTATION}
    decoded = data(root, in_memory=True, **options)
    assert_same_batches(data(root, **options), decoded)
    assert decoded.about_memory().startswith("64 training images and 128 images of 2 evaluation sets are kept in mem")


@pytest.mark.parametrize("interpolation", ["bicubic", pytest.param("bilinear", marks=pytest.mark.slow)])
def test_batches_of_any_interpolation_are_the_same(root, interpolation):
    modules = [data(root, in_memory=kept, augmentation=AUGMENTATION) for kept in (False, True)]
    for module in modules:
        module.train_transform.crop.interpolation = type(module.train_transform.crop.interpolation)(interpolation)
    assert_same_batches(*modules)


def test_few_shots_rows_and_held_out_images_are_the_same(root):
    folders = {"train": "train", "val": None, "test": "val", "ood": {}}
    options = {"shots": 20, "folders": folders, "held_out": {"fraction": 0.2, "seed": 0}}
    modules = [data(root, in_memory=kept, **options) for kept in (False, True)]
    assert len(modules[1].train_dataset().source) == 40
    for module in modules:
        module.draw_image_template_pairs()
        module.shuffle_evaluation(3, 20)
    assert_same_batches(*modules)


def test_shards_with_captions_and_domains_are_the_same(tmp_path):
    for folder, size in (("sets/a_photo", 20), ("sets/a_sketch", 13)):
        write(tmp_path / folder, "train", size, caption="number {} ü")
        write(tmp_path / folder, "test", size)
    options = {
        "train": {"folder": "a_*", "split": "train"},
        "suite": {"all": {"folder": "a_*", "split": "test", "role": "id"}},
    }
    encoded, decoded = (shards(tmp_path / "sets", in_memory=kept, **options) for kept in (False, True))
    expected, actual = epochs(encoded), epochs(decoded)
    assert all(equal(*pair) for pair in zip(expected, actual, strict=True))
    source, original = decoded.train_dataset().source, encoded.train_dataset().source
    for index in range(len(original)):
        assert source[index]._replace(data=None) == original[index]._replace(data=None)


def test_a_run_resumes_with_and_without(root):
    module = data(root)
    batches = iter(module.train_dataloader())
    next(batches)
    state, expected = module.state_dict(), list(batches)
    resumed = data(root, in_memory=True)
    resumed.load_state_dict(state)
    assert all(equal(*pair) for pair in zip(resumed.train_dataloader(), expected, strict=True))


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.exhaustive)])
def test_workers_share_the_memory_of_images(root, method):
    dataset = data(root, in_memory=True, max_bad_fraction=0.9).val_dataloader().dataset
    loader = DataLoader(
        AddressOfImage(dataset), None, num_workers=2, multiprocessing_context=method, worker_init_fn=init_worker
    )
    before = dataset.source[1].data.clone()
    assert sum(loader) == 0
    assert torch.equal(dataset.source[1].data, before) == (method == "fork")  # forked workers copy what they write


class AddressOfImage(torch.utils.data.Dataset):
    """Writes into the first images, which only shared memory passes on."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.dataset.source[1].data.fill_(7)
        return 0


def test_images_are_read_and_decoded_once(root, monkeypatch):
    module = data(root, in_memory=True)
    module.setup("fit")
    images = len(module.train_source())
    reads = []
    monkeypatch.setattr(type(module.train_source()), "__getitem__", lambda self, index: reads.append(index) or 1 / 0)
    source = module.train_dataset().source
    kept = [index for index in range(images) if source._rows[index, 0] >= 0]
    assert len(kept) > 50
    assert all(source[index].data.dtype == torch.uint8 for index in kept)
    assert not reads


def test_auto_keeps_small_sets_of_models_that_are_trained(root, monkeypatch):
    assert data(root).about_memory() == ""
    module = data(root, in_memory="auto")
    module.setup("fit")
    assert "64 training images and 128 images of 2 evaluation sets" in module.about_memory()
    module = data(root, in_memory="auto")
    module.trains = False
    module.setup("test")
    assert module.about_memory() == ""
    crops = 64 * 3 * 32 * 32  # the training images are larger than their evaluation crops
    monkeypatch.setattr(in_memory, "AUTO_BYTES", crops)
    module = data(root, in_memory="auto")
    module.setup("fit")
    assert module.about_memory() == "128 images of 2 evaluation sets are kept in memory, decoded: 0 MB"
    monkeypatch.setattr(in_memory, "AUTO_BYTES", 1 << 30)
    for available, kept in ((4 * crops, "64 images of 1 evaluation set are kept"), (4 * crops - 4, "")):
        monkeypatch.setattr(datamodule, "available_memory", functools.partial(int, available))
        module = data(root, in_memory="auto")
        module.setup("fit")
        assert module.about_memory().startswith(kept)
        assert bool(module.about_memory()) == bool(kept)


def test_auto_gives_up_where_the_estimate_was_too_small(root, monkeypatch):
    monkeypatch.setattr(in_memory, "_estimate_bytes", lambda source, prepare: 1)
    monkeypatch.setattr(in_memory, "AUTO_BYTES", 1000)
    module = data(root, in_memory="auto")
    assert_batches = epochs(module)
    assert all(equal(*pair) for pair in zip(assert_batches, epochs(data(root)), strict=True))
    assert module.about_memory() == ""


def test_images_that_turn_out_to_be_larger_than_memory_raise_an_error(root, monkeypatch):
    monkeypatch.setattr(datamodule, "available_memory", lambda: 10**5)
    monkeypatch.setattr(in_memory, "_estimate_bytes", lambda source, prepare: 1)
    with pytest.raises(ValueError, match="64 training images would take about 0 MB or more, and 0 MB of memory"):
        data(root, in_memory=True).train_dataloader()


def test_more_images_than_memory_raise_an_error_before_they_are_decoded(root, monkeypatch):
    monkeypatch.setattr(datamodule, "available_memory", lambda: 10**6)
    monkeypatch.setattr(in_memory, "_estimate_bytes", lambda source, prepare: 3 * 10**6)
    monkeypatch.setattr(in_memory, "_decode_all", None)
    module = data(root, in_memory=True)
    with pytest.raises(
        ValueError,
        match="in_memory=True: 64 training images would take about 3 MB or more, and 1 MB of memory are avail",
    ):
        module.train_dataloader()
    module.trainer = SimpleNamespace(global_rank=0, world_size=4, num_devices=2)
    with pytest.raises(ValueError, match="and 0 MB of memory are available to this process; set"):
        module.train_dataloader()


@pytest.mark.parametrize("value", ["yes", None, 1])
def test_other_values_raise_errors(root, value):
    with pytest.raises(ValueError, match=f"in_memory must be True, False or 'auto', got {value!r}"):
        data(root, in_memory=value)


def test_streams_keep_nothing(shard_root):
    with pytest.raises(ValueError, match="in_memory=True keeps images by their position, which streams don't provide"):
        shards(shard_root, stream=True, in_memory=True)
    stream = shards(shard_root, stream=True, in_memory="auto")
    stream.setup("fit")
    assert stream.about_memory() == ""


def test_many_blocks_hold_all_images(root, monkeypatch):
    monkeypatch.setattr(in_memory, "BLOCK_BYTES", 5000)
    source = data(root).train_source()
    decoded = DecodedSource(
        source, lambda content, index: torch.from_numpy(np.full((3, 9, index + 1), index, "u1")), ""
    )
    assert len(decoded._blocks) > 5
    assert all((decoded[index].data == index).all() for index in range(len(source)))
    assert [decoded[index].data.shape for index in range(3)] == [(3, 9, 1), (3, 9, 2), (3, 9, 3)]
    assert decoded.nbytes == sum(27 * (index + 1) for index in range(len(source)))


def test_decoding_in_threads_leaves_warning_filters_as_they_were(root):
    filters = list(warnings.filters)
    data(root, in_memory=True).setup("fit")
    assert warnings.filters == filters


def test_texts_are_packed_without_loss():
    texts = ["", "a", "ü 漢", "path \udcff", ""]
    packed = PackedTexts(texts)
    assert [packed[index] for index in range(5)] == texts
    assert PackedTexts([""])[0] == ""
