"""Streamed shards have the samples of indexed ones for any number of shards, workers and ranks."""

from types import SimpleNamespace

import pytest
import torch

from tests.data.shards.helpers import rewrite, seen, served, shards, write
from tracer_lightning.data.shards import stream_loaders
from tracer_lightning.data.shards.stream_loaders import PaddedLoader, StreamPosition
from tracer_lightning.data.shards.streaming import assign_shards


def on_rank(data, rank, world):
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world)
    return data


def by_index(batches):
    return {
        position: (image, label)
        for batch in batches
        for position, image, label in zip(batch.indices.tolist(), batch.images, batch.labels.tolist(), strict=True)
        if label >= 0
    }


def test_both_readers_agree_sample_for_sample(root):
    for streamed, indexed in zip(
        shards(root, stream=True).test_dataloader(), shards(root).test_dataloader(), strict=True
    ):
        first, second = by_index(streamed), by_index(indexed)
        assert len(first) == len(second)
        for (_, ours), (_, theirs) in zip(sorted(first.items()), sorted(second.items()), strict=True):
            assert ours[1] == theirs[1]
            assert torch.equal(ours[0], theirs[0])


@pytest.mark.parametrize("streams", [1, 2, 5, 10])
def test_an_epoch_has_every_sample_once(root, streams):
    samples = seen(shards(root, stream=True, streams=streams).train_dataloader())
    assert len(samples) == 50
    assert len(set(samples)) >= 50 - 6  # streams differ by what the last shard lacks
    if streams in (1, 10):
        assert samples == [(number, number % 3) for number in range(50)]


def test_even_shards_give_an_exact_epoch(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / "sets" / "photo", split, 40, per_shard=4)  # 10 shards of 4
    suite = {"photo": {"folder": "photo", "split": "test", "role": "id"}}
    for streams in (2, 10):
        loader = shards(tmp_path / "sets", stream=True, streams=streams, suite=suite).train_dataloader()
        epochs = [list(loader)]
        loader.sampler.set_epoch(1)
        epochs.append(list(loader))
        assert seen(epochs[0]) == seen(epochs[1]) == [(number, number % 3) for number in range(40)]
        first, second = ([batch.indices.tolist() for batch in epoch] for epoch in epochs)
        assert first != second


def batches(root, streams=10, workers=0, rank=0, world=1, consumed=0, epoch=3):
    data = on_rank(shards(root, stream=True, streams=streams, num_workers=workers), rank, world)
    data.load_state_dict({"sampler": {"epoch": epoch, "consumed": consumed, "seed": 0, "size": 50, "streams": streams}})
    return list(data.train_dataloader())


def same(first, second):
    assert len(first) == len(second) > 0
    for ours, theirs in zip(first, second, strict=True):
        for part in ("images", "texts", "labels", "indices", "text_of"):
            assert torch.equal(getattr(ours, part), getattr(theirs, part)), part


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_do_not_depend_on_the_number_of_workers(root, workers):
    same(batches(root), batches(root, workers=workers))


def test_ranks_share_the_global_batches(root):
    parts = [batches(root, rank=rank, world=5) for rank in range(5)]
    for number, batch in enumerate(batches(root)):
        for part in (0, 2, 3):
            assert torch.equal(torch.cat([rank[number][part] for rank in parts]), batch[part])


@pytest.mark.parametrize(("consumed", "workers"), [(10, 0), (30, 2), (40, 0)])
def test_resume_within_an_epoch(root, consumed, workers):
    same(batches(root)[consumed // 10 :], batches(root, consumed=consumed, workers=workers))


def test_unreadable_images_are_replaced_and_do_not_shift_what_follows(root):
    complete = {index for batch in batches(root) for index in batch.indices.tolist()}
    rewrite(root / "photo/train/3.tar", lambda name, data: (name, b"<html>" if name == "s0000026.png" else data))
    read = batches(root)
    lost = [origin for batch in read for origin in batch.unreadable]
    assert len(lost) == 1
    assert lost[0].startswith("s0000026 in ")
    assert sum(len(batch.labels) for batch in read) == 50
    assert len(complete - {index for batch in read for index in batch.indices.tolist()}) <= 1
    same(read[2:], batches(root, consumed=20))
    data = shards(root, stream=True)
    rewrite(root / "photo/test/1.tar", lambda name, data: (name, b"<html>" if name == "s0000009.png" else data))
    counted = list(data.val_dataloader())
    assert sum((batch.labels >= 0).sum().item() for batch in counted) == 19
    assert [len(batch.unreadable) for batch in counted].count(1) == 1


@pytest.mark.parametrize("size", [0, 1, 3, 8])
@pytest.mark.parametrize("readers", [1, 2, 3, 7, 16])
def test_every_sample_falls_to_one_reader(size, readers):
    result = []
    for reader in range(readers):
        for shard, share, sharers in assign_shards(size, reader, readers):
            result += [(shard, position) for position in range(11) if position % sharers == share]
    assert sorted(result) == [(shard, position) for shard in range(size) for position in range(11)]


@pytest.mark.parametrize(("world", "workers"), [(1, 3), (4, 0), (3, 2)])  # readers of two shards
def test_evaluation_is_exact_with_fewer_shards_than_readers(root, world, workers):
    samples = []
    for rank in range(world):
        data = on_rank(shards(root, stream=True, num_workers=workers), rank, world)
        samples += seen(data.test_dataloader()[1])
    assert sorted(samples) == [(number, number % 3) for number in range(11)]


def test_ranks_that_are_done_wait_with_padding(monkeypatch):
    answers = iter([True, True, True, False])
    monkeypatch.setattr(stream_loaders, "any_rank", lambda flag: next(answers))
    assert list(PaddedLoader(["first"], "padding")) == ["first", "padding", "padding"]


def test_only_indexed_shards_are_evaluated_in_random_order(root):
    with pytest.raises(ValueError, match="streams can't be read in random order; read the shards by index"):
        shards(root, stream=True).shuffle_evaluation(0)
    data = shards(root)
    eval_set = data.eval_sets[0]
    complete = torch.cat([batch.indices for batch in data.eval_loader(eval_set)]).tolist()
    data.shuffle_evaluation(1, 5)
    chosen = torch.cat([batch.indices for batch in data.eval_loader(eval_set)]).tolist()
    assert len(chosen) == len(set(chosen)) == 5 != len(complete)
    assert chosen != complete[:5]


def test_training_needs_a_size(root):
    (root / "photo/train/manifest.json").unlink()
    assert len(shards(root, stream=True).train_dataloader()) == 5  # headers of local shards are counted
    with served(root) as address, pytest.raises(ValueError, match=r"train\.samples must be the number of samples"):
        shards(address, stream=True, cache_dir=str(root.parent / "remote")).train_dataloader()
    for tar in (root / "photo/train").iterdir():
        tar.unlink()
    write(root / "photo", "train", 50)
    for stream in (True, False):
        data = shards(root, stream=stream, train={"folder": "photo", "split": "train", "samples": 40})
        with pytest.raises(ValueError, match=r"train: photo/train contains 50 samples, but 40 are expected"):
            data.setup("fit")


def test_streams_must_fit():
    with pytest.raises(ValueError, match=r"streams=4 must divide batch_size=10"):
        StreamPosition(50, 10, 0, 0, 1, 4)
    with pytest.raises(ValueError, match=r"streams=5 .* multiple of the 2 processes"):
        StreamPosition(50, 10, 0, 0, 2, 5)
    assert StreamPosition(50, 12, 0, 1, 2, 12).workers(4) == 3
    assert StreamPosition(50, 12, 0, 1, 2, 12).workers(0) == 0
    assert list(StreamPosition(50, 12, 0, 1, 2, 12).streams_of(1, 3)) == [8, 9]
    position = StreamPosition(50, 10, 0, 0, 1, 5)
    with pytest.raises(ValueError, match="streams 10 and this run's streams 5"):
        position.load_state_dict({"epoch": 0, "consumed": 0, "seed": 0, "size": 50, "streams": 10})
    with pytest.raises(ValueError, match="streams None and this run's streams 5"):
        position.load_state_dict({"epoch": 0, "consumed": 0, "seed": 0, "size": 50})
