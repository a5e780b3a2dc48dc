import gzip
import hashlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from tests.conftest import tiny_backbone
from tests.data.digits import mnist_files
from tests.data.digits.mnist_files import TEST, TRAIN
from tracer_lightning.data import ColouredDigitsDataModule, ColouredMNISTDataModule
from tracer_lightning.data.digits.coloured import draw_colours, embedded_digits, mnist_digits
from tracer_lightning.data.digits.styles import CLASSES, load_splits

LOADING = {"batch_size": 64, "eval_batch_size": 100, "num_workers": 0, "seed": 0, "max_bad_fraction": 0.0}
RED, BLUE = [1, 0, 0], [0, 0, 1]


@pytest.fixture(scope="module")
def spec():
    return tiny_backbone().spec._replace(image_size=28)


def toy(spec, task="coloured", correlation=0.95, **options):
    return ColouredDigitsDataModule(spec, task=task, correlation=correlation, **options, **LOADING)


@pytest.fixture
def on_disk(tmp_path):
    mnist_files.write(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _clear_cache():
    mnist_digits.cache_clear()


def test_colours_by_hand():
    labels = np.array([0, 4, 5, 9])
    assert draw_colours(labels, correlation=1.0, seed=0).tolist() == [0, 0, 1, 1]
    assert draw_colours(labels, correlation=0.0, seed=0).tolist() == [1, 1, 0, 0]


def test_colour_goes_with_the_digit_in_95_percent():
    labels = np.arange(20_000) % 10
    kept = (draw_colours(labels, correlation=0.95, seed=1) == 0) == (labels < 5)
    assert abs(kept.mean() - 0.95) < 0.005
    assert all(abs(kept[labels == digit].mean() - 0.95) < 0.03 for digit in range(10))


def test_both_tasks_show_the_same_digits(spec):
    coloured, plain = (toy(spec).eval_source(eval_set) for eval_set in toy(spec).eval_sets)
    assert plain.labels == load_splits()["test"].labels.tolist()
    assert coloured.images.shape == plain.images.shape == (540, 3, 28, 28)
    assert torch.equal(coloured.images.amax(dim=1), plain.images[:, 0])
    assert torch.equal(plain.images[:, 0], plain.images[:, 2])


def test_labels_of_coloured_digits_are_the_colours_seen(spec):
    source = toy(spec).eval_source(toy(spec).eval_sets[0])
    lit = source.images.flatten(2).amax(dim=2) > 0  # (N, 3)
    assert [RED if label == 0 else BLUE for label in source.labels] == lit.int().tolist()


def test_captions_name_what_the_task_asks_for(spec):
    for task, names in (("plain", CLASSES), ("coloured", ("red digit", "blue digit"))):
        data = toy(spec, task=task)
        source = data.train_source()
        assert {data.classnames[label] for label in source.labels} == set(names)
        assert data.label_names(data.eval_sets[0]) == list(names)
    red = [number for number, label in enumerate(source.labels) if data.classnames[label] == "red digit"]
    assert source.images[red][:, 0].any()
    assert not source.images[red][:, 1:].any()


def test_coloured_digits_may_be_labelled_by_digit(spec):
    data = toy(spec, label="digit")
    assert data.classnames == CLASSES
    coloured, plain = (data.eval_source(eval_set) for eval_set in data.eval_sets)
    assert coloured.labels == plain.labels == load_splits()["test"].labels.tolist()
    assert torch.equal(coloured.images, toy(spec).eval_source(data.eval_sets[0]).images)
    assert [data.label_names(eval_set) for eval_set in data.eval_sets] == [list(CLASSES)] * 2
    assert data.train_source().labels == toy(spec, task="plain").train_source().labels


def test_faint_channels_have_a_share_of_the_brightness(spec):
    pure, faint, white = (
        toy(spec, desaturation=share).eval_source(toy(spec).eval_sets[0]).images.float() for share in (0.0, 0.2, 1.0)
    )
    assert torch.equal(faint.amax(dim=1), pure.amax(dim=1))
    assert torch.equal(white.amin(dim=1), pure.amax(dim=1))
    assert not pure.amin(dim=1).any()
    assert (faint.amin(dim=1) - 0.2 * pure.amax(dim=1)).abs().max() <= 0.7  # two roundings


def test_roles_follow_the_task(spec):
    for task, ood_task in (("plain", "coloured"), ("coloured", "plain")):
        data = toy(spec, task=task)
        assert [eval_set[:3] for eval_set in data.eval_sets] == [(task, "test", "id"), (ood_task, "test", "ood")]
        assert data.val_set[:3] == (task, "val", "id")


def test_splits_have_colours_of_their_own_and_always_the_same(spec):
    first, second = (toy(spec, correlation=0.5) for _ in range(2))
    assert torch.equal(first.train_source().images, second.train_source().images)
    val, test = (first.eval_source(eval_set).labels for eval_set in (first.val_set, first.eval_sets[0]))
    assert val[:100] != test[:100]


def test_embedded_digits_lie_where_mnist_has_them():
    images = embedded_digits()["test"].images
    assert images.shape == (540, 28, 28)
    assert 0 <= images.min() < images.max() <= 1
    frame = np.ones((28, 28), dtype=bool)
    frame[4:-4, 4:-4] = False
    assert not images[:, frame].any()


def test_mnist_images_and_labels_are_those_of_its_files(spec, on_disk):
    data = ColouredMNISTDataModule(spec, root=str(on_disk), download=False, task="plain", correlation=0.95, **LOADING)
    test = data.eval_source(data.eval_sets[0])
    raw = np.frombuffer(mnist_files.contents()["t10k-images-idx3-ubyte"][16:], dtype=np.uint8).reshape(TEST, 28, 28)
    assert np.array_equal(test.images[:, 0].numpy(), raw)
    assert test.labels == (np.arange(TEST) % 10).tolist()
    train, val = data.train_source(), data.eval_source(data.val_set)
    assert (len(train), len(val)) == (TRAIN - 1_000, 1_000)
    assert np.bincount(val.labels).tolist() == [100] * 10
    contents = {image.numpy().tobytes() for source in (train, val) for image in source.images}
    assert len(contents) == TRAIN


def test_missing_mnist_is_downloaded(tmp_path, monkeypatch):
    served, root = tmp_path / "served", tmp_path / "new" / "root"
    served.mkdir()
    resources = []
    for name, content in mnist_files.contents().items():
        packed = gzip.compress(content)
        (served / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}), directory=served)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(MNIST, "resources", resources)
    try:
        assert len(mnist_digits(str(root), download=True)["test"].labels) == TEST
    finally:
        server.shutdown()
        server.server_close()
    mnist_digits.cache_clear()
    assert len(mnist_digits(str(root), download=True)["test"].labels) == TEST  # without the server


def test_missing_mnist_raises_an_error(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"root=.*: MNIST can't be loaded.*; set download to True"):
        mnist_digits(str(tmp_path), download=False)
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(ValueError, match=r"root=.*: MNIST can't be loaded.*Error downloading"):
        mnist_digits(str(tmp_path), download=True)


def test_damaged_mnist_raises_an_error(on_disk):
    for file in (on_disk / "MNIST" / "raw").iterdir():
        file.write_text("version https://git-lfs.github.com/spec/v1\n")
    for download in (True, False):
        with pytest.raises(ValueError, match=r"root=.*: MNIST can't be loaded from there \(.+\)"):
            mnist_digits(str(on_disk), download=download)


def test_existing_mnist_is_not_changed(on_disk):
    assert len(mnist_digits(str(on_disk), download=True)["test"].labels) == TEST
    assert [path.name for path in on_disk.iterdir()] == ["MNIST"]


def test_invalid_arguments_raise_errors(spec):
    with pytest.raises(ValueError, match=r"correlation must lie in \[0, 1\], got 1\.5"):
        toy(spec, correlation=1.5)
    with pytest.raises(ValueError, match="task must be one of plain, coloured, got 'neon'"):
        toy(spec, task="neon")
    with pytest.raises(ValueError, match="label must be one of colour, digit, got 'shape'"):
        toy(spec, label="shape")
    with pytest.raises(ValueError, match=r"desaturation must lie in \[0, 1\], got -1"):
        toy(spec, desaturation=-1)
    with pytest.raises(ValueError, match=r"spec\.image_size must be 28 for these digits, got 32"):
        toy(spec._replace(image_size=32))
