"""Training and testing from shards."""

import functools

import pytest
import torch

from tests.data.shards.helpers import CLASSES, SHARED, rewrite, seen, served, shards
from tests.images import grey_png
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.source import IndexedSource
from tracer_lightning.data.shards.store import ShardStore, SplitLocation
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.storage.shard_layout import ShardLayout


def test_an_epoch_is_a_permutation_of_all_shards(root):
    data = shards(root)
    assert data.classnames == CLASSES
    assert seen(data.train_dataloader()) == [(number, number % 3) for number in range(50)]
    order = [position for batch in data.train_dataloader() for position in batch.indices.tolist()]
    assert order != sorted(order)
    assert len({position // 8 for position in order[:10]}) > 3  # a batch draws on many shards


def test_every_set_of_the_suite_is_read_once(root):
    data = shards(root)
    photo, sketch = (seen(loader) for loader in data.test_dataloader())
    assert photo == [(number, number % 3) for number in range(20)]
    assert sketch == [(number, number % 3) for number in range(11)]
    assert [eval_set.role for eval_set in data.eval_sets] == ["id", "ood"]
    assert data.val_set.name == "photo"


def test_remote_and_local_sets_are_equal(root, tmp_path):
    with served(root) as address:
        remote = shards(address, cache_dir=str(tmp_path / "cache"))
        remote.prepare_data()
        first, second = list(shards(root).train_dataloader()), list(remote.train_dataloader())
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.indices, theirs.indices)
    assert seen(remote.test_dataloader()[1]) == [(number, number % 3) for number in range(11)]  # the server is gone


def test_a_cached_set_needs_no_server_for_files_that_it_never_had(root, tmp_path, monkeypatch):
    monkeypatch.setattr("tracer_lightning.data.shards.http.ATTEMPTS", 1)
    options = {"cache_dir": str(tmp_path / "cache")}
    with served(root) as address:
        first = shards(address, **options)
        first.prepare_data()
    assert shards(address, **options).train_classnames is None
    (root / "photo/train_classnames.txt").write_text("cat|pet\ndog|pet\nowl|bird\n")
    with served(root) as address:
        assert shards(address, **options).train_classnames == ["cat|pet", "dog|pet", "owl|bird"]


@pytest.mark.parametrize("stream", [False, True])
def test_evaluation_does_not_open_training_data(root, tmp_path, stream):
    data = shards(root, stream=stream, train={"folder": "photo", "split": "nowhere"})
    data.trains = False
    data.prepare_data()
    data.setup("test")
    assert seen(data.test_dataloader()[0]) == [(number, number % 3) for number in range(20)]
    data.trains = True
    with pytest.raises(ValueError, match="nowhere"):
        data.setup("test")


def test_worker_processes_read_the_same(root):
    plain, spawned = shards(root), shards(root)
    spawned.num_workers = 2
    for ours, theirs in zip(plain.train_dataloader(), spawned.train_dataloader(), strict=True):
        assert torch.equal(ours.images, theirs.images)


def test_the_number_of_open_files_is_limited(root, monkeypatch):
    monkeypatch.setattr("tracer_lightning.data.shards.source.MAX_OPEN_FILES", 2)
    source = shards(root).train_source()
    before = [source[position].data for position in range(50)]
    assert [source[position].data for position in reversed(range(50))] == before[::-1]
    assert len(source._open) == 2


def test_samples_have_their_own_captions(tmp_path):
    items = [SourceSample(functools.partial(grey_png, n), f"{n}", "png", caption=f"grey level {n}") for n in range(5)]
    write_shards(SampleCollection(items, []), tmp_path / "pairs", "train", ["a {c}."], ShardLayout())
    store = ShardStore(str(tmp_path), tmp_path / "cache")
    source = IndexedSource(store.shards(SplitLocation("pairs", "train")), ClassLabels(None), tmp_path / "cache")
    assert sorted(source[position].captions[0] for position in range(5)) == [f"grey level {n}" for n in range(5)]
    assert {source[position].label for position in range(5)} == {-1}


def test_invalid_arguments_raise_errors(root):
    (root / "photo/train/2.tar").rename(root / "photo/train/x.tar")
    with pytest.raises(ValueError, match=r"no .*2\.tar, although the number of shards includes it"):
        shards(root).train_dataloader()
    (root / "photo/train/x.tar").rename(root / "photo/train/2.tar")
    with pytest.raises(ValueError, match=r"no .*nshards\.txt: there is no split valid of shards"):
        shards(root, train={"folder": "photo", "split": "valid"}).train_dataloader()
    with pytest.raises(ValueError, match="contains no folder photos"):
        shards(root, train={"folder": "photos", "split": "train"})
    (root / "sketch/classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"suite\.sketch: sketch has 2 classes, but 3 are expected"):
        shards(root)
    (root / "sketch/classnames.txt").write_text("cat\ndog\nbat\n")
    with pytest.raises(ValueError, match=r"suite\.sketch: sketch calls class 2 'bat', but 'owl' is expected"):
        shards(root)
    (root / "sketch/classnames.txt").write_text("cat\ndog\n")
    (root / "photo/classnames.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"has the label 2, of 2 classes"):
        shards(root).train_dataloader()
    (root / "photo/classnames.txt").unlink()
    with pytest.raises(ValueError, match=r"no .*classnames\.txt: a set of shards needs it"):
        shards(root)


@pytest.mark.skipif(not (SHARED / "pacs_photo").is_dir(), reason="needs the PACS shards")
def test_real_images(tmp_path):
    suite = {
        "photo": {"folder": "pacs_photo", "split": "test", "role": "id", "samples": 334},
        "others": {"folder": "pacs_*", "split": "test", "role": "ood"},
    }
    data = shards(SHARED, train={"folder": "pacs_photo", "split": "train"}, suite=suite, cache_dir=str(tmp_path))
    assert list(data.classnames) == ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
    assert [eval_set.name for eval_set in data.eval_sets[:3]] == ["photo", "art_painting", "sketch"]
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (10, 3, 32, 32)
    assert len(data.train_source()) + len(data.eval_source(data.eval_sets[0])) == 1670


def test_incomplete_samples_cause_warnings(root):
    rewrite(root / "photo/train/0.tar", lambda name, content: None if name == "s0000000.cls" else (name, content))
    with pytest.warns(UserWarning, match=r"train: 1 sample is left out: 1 without label or caption"):
        assert len(shards(root).train_source()) == 49
