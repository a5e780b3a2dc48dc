"""Training and testing from shards."""

import functools
import http.server
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import tiny_backbone
from tracer_lightning.data import ShardDataModule
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.source import IndexedSource, shard_paths
from tracer_lightning.data.shards.writer import Collection, Item, Layout, write_shards

CLASSES = ["cat", "dog", "owl"]
PACS = Path(__file__).parents[4] / "shared" / "data"


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 48, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def item(number):
    return Item(functools.partial(png, number % 200), f"picture {number}", "png", label=number % 3)


@pytest.fixture
def root(tmp_path):
    """Two sets; sample i is of grey level i and class i mod 3."""
    for folder, split, size in (("photo", "train", 50), ("photo", "test", 20), ("sketch", "test", 11)):
        collection = Collection([item(number) for number in range(size)], CLASSES)
        write_shards(collection, tmp_path / "sets" / folder, split, ["a {c}."], Layout(max_samples=8))
    return tmp_path / "sets"


def module(root, **options):
    suite = {
        "photo": {"folder": "photo", "split": "test", "role": "id"},
        "sketch": {"folder": "sketch", "split": "test", "role": "ood"},
    }
    given = {"train": {"folder": "photo", "split": "train"}, "suite": suite, "cache": str(Path(str(root)) / "cache")}
    loading = {"batch_size": 10, "eval_batch_size": 8, "num_workers": 0, "seed": 0, "max_bad_fraction": 0.001}
    augmentation = {"crop_scale": [0.9, 1.0], "flip": 0.5}
    return ShardDataModule(tiny_backbone().spec, str(root), augmentation=augmentation, **(given | options), **loading)


def seen(batches):
    pairs = [
        (round(image.float().mean().item()), label)
        for batch in batches
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True)
        if label >= 0
    ]
    return sorted(pairs)


def test_an_epoch_is_a_permutation_of_all_shards(root):
    data = module(root)
    assert data.classnames == CLASSES
    assert seen(data.train_dataloader()) == [(number, number % 3) for number in range(50)]
    order = [position for batch in data.train_dataloader() for position in batch.indices.tolist()]
    assert order != sorted(order)
    assert len({position // 8 for position in order[:10]}) > 3  # a batch draws on many shards


def test_the_suite_is_read_once_each(root):
    data = module(root)
    photo, sketch = (seen(loader) for loader in data.test_dataloader())
    assert photo == [(number, number % 3) for number in range(20)]
    assert sketch == [(number, number % 3) for number in range(11)]
    assert [eval_set.role for eval_set in data.eval_sets] == ["id", "ood"]
    assert data.val_set.name == "photo"


def test_remote_sets_are_the_same(root, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=str(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        remote = module(f"http://127.0.0.1:{server.server_port}", cache=str(tmp_path / "cache"))
        one, other = list(module(root).train_dataloader()), list(remote.train_dataloader())
    finally:
        server.shutdown()
        server.server_close()
    for ours, theirs in zip(one, other, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.indices, theirs.indices)


def test_worker_processes_read_the_same(root):
    plain, spawned = module(root), module(root)
    spawned.num_workers = 2
    for ours, theirs in zip(plain.train_dataloader(), spawned.train_dataloader(), strict=True):
        assert torch.equal(ours.images, theirs.images)


def test_few_files_are_open_at_once(root, monkeypatch):
    monkeypatch.setattr("tracer_lightning.data.shards.source.OPEN_FILES", 2)
    source = module(root).train_source()
    before = [source[position].data for position in range(50)]
    assert [source[position].data for position in reversed(range(50))] == before[::-1]
    assert len(source._open) == 2


def test_samples_have_their_own_captions(tmp_path):
    items = [Item(functools.partial(png, n), f"{n}", "png", caption=f"grey level {n}") for n in range(5)]
    write_shards(Collection(items, []), tmp_path / "pairs", "train", ["a {c}."], Layout())
    source = IndexedSource(shard_paths(LocalRoot(tmp_path / "pairs"), "train"), None, tmp_path / "cache")
    assert sorted(source[position].caption for position in range(5)) == [f"grey level {n}" for n in range(5)]
    assert {source[position].label for position in range(5)} == {-1}


def test_mistakes_are_named(root):
    (root / "photo/train/2.tar").rename(root / "photo/train/x.tar")
    with pytest.raises(ValueError, match=r"no .*2\.tar, but nshards\.txt says that train has 7 shards"):
        module(root).train_dataloader()
    (root / "photo/train/x.tar").rename(root / "photo/train/2.tar")
    with pytest.raises(ValueError, match=r"no .*nshards\.txt: no split valid of shards there"):
        module(root, train={"folder": "photo", "split": "valid"}).train_dataloader()
    with pytest.raises(ValueError, match="no such folder"):
        module(root, train={"folder": "photos", "split": "train"})
    (root / "sketch/classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match="sketch has 2 classes, which are not the 3 of photo"):
        module(root)
    (root / "sketch/classnames.txt").write_text("cat\ndog\n")
    (root / "photo/classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"has the label 2, of 2 classes"):
        module(root).train_dataloader()
    (root / "photo/classnames.txt").unlink()
    with pytest.raises(ValueError, match=r"no .*classnames\.txt: a set of shards needs it"):
        module(root)


@pytest.mark.skipif(not (PACS / "pacs_photo").is_dir(), reason="needs the PACS shards")
def test_real_pictures(tmp_path):
    suite = {
        name: {"folder": f"pacs_{name}", "split": "test", "role": "id" if name == "photo" else "ood"}
        for name in ("photo", "art_painting", "sketch")
    }
    data = module(PACS, train={"folder": "pacs_photo", "split": "train"}, suite=suite, cache=str(tmp_path))
    assert list(data.classnames) == ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (10, 3, 32, 32)
    assert len(data.train_source()) + len(data.eval_source(data.eval_sets[0])) == 1670


def test_incomplete_samples_are_said(root):
    path = root / "photo/train/0.tar"
    whole = [(member.name, read) for member, read in contents(path)]
    with tarfile.open(path, "w") as archive:
        for name, content in whole:
            if name != "s0000000.cls":
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    with pytest.warns(UserWarning, match=r"photo/train: 1 samples without picture or label are left out"):
        assert len(module(root).train_source()) == 49


def contents(path):
    with tarfile.open(path) as archive:
        return [(member, archive.extractfile(member).read()) for member in archive]
