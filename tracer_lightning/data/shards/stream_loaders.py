"""Batches of streamed shards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tracer_lightning.data.core.loader import CountedLoader
from tracer_lightning.data.core.sampler import EpochPosition
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.samples import PADDING, REPLACEMENTS, Sample, SampleBuilder, dedup_and_trim, stacked
from tracer_lightning.data.shards.labels import Labels
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.streaming import ShardStream, assign_shards, read_shard
from tracer_lightning.types import Batch


class LanePosition(EpochPosition):
    """The position in an epoch that is read in lanes.

    Args:
        size: number of samples.
        batch_size: samples of the *global* batch, a multiple of the lanes.
        seed: of the order.
        rank: of this process.
        world_size: number of processes, a divisor of the lanes.
        lanes: see :class:`tracer_lightning.data.shards.streaming.ShardStream`.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int, world_size: int, lanes: int) -> None:
        super().__init__(size, batch_size, seed, rank, world_size)
        if lanes < 1 or batch_size % lanes or lanes % world_size:
            raise ValueError(
                f"data.lanes={lanes} must divide data.batch_size={batch_size} and be a multiple of the {world_size} "
                "processes"
            )
        self.lanes = lanes

    def state_dict(self) -> dict[str, Any]:
        """The position, and the lanes that its order depends on."""
        return {**super().state_dict(), "lanes": self.lanes}

    def workers(self, wanted: int) -> int:
        """The largest number of workers, at most ``wanted``, that this rank's lanes can be dealt to evenly."""
        mine = self.lanes // self.world_size
        return next((count for count in range(min(wanted, mine), 0, -1) if mine % count == 0), 0)

    def lanes_of(self, worker: int, workers: int) -> range:
        """The lanes that one worker of this rank reads."""
        share = self.lanes // self.world_size // workers
        first = self.rank * self.lanes // self.world_size + worker * share
        return range(first, first + share)


class TrainStream(IterableDataset[Batch]):
    """One worker's parts of the remaining batches of an epoch.

    Args:
        shards: of the whole split.
        preparation: of training samples.
        position: where to begin, and the lanes.
        buffer: samples held to be drawn from, of all lanes together.
        labels: the classes.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        preparation: SampleBuilder,
        position: LanePosition,
        buffer: int,
        labels: Labels,
    ) -> None:
        self.shards, self.preparation, self.position = shards, preparation, position
        self.buffer, self.labels = buffer, labels

    def __iter__(self) -> Iterator[Batch]:
        """Parts of a batch, in the order of their lanes; texts as long as the model allows."""
        position, info = self.position, get_worker_info()
        mine = position.lanes_of(info.id, info.num_workers) if info else position.lanes_of(0, 1)
        done = position.consumed
        samples = [self._samples(lane, done // position.lanes) for lane in mine]
        each = position.batch_size // position.lanes
        for _ in range(len(position) - done // position.batch_size):
            yield stacked([sample for lane in samples for sample in islice(lane, each)])

    def _samples(self, lane: int, done: int) -> Iterator[Sample]:
        """The lane's samples after the first ``done``, which are read but not decoded."""
        position = self.position
        share = max(1, self.buffer // position.lanes)
        images = iter(ShardStream(self.shards, lane, position.lanes, position.order_seed, share, self.labels))
        next(islice(images, done, done), None)
        upcoming: list[tuple[int, RawSample]] = []
        while True:
            yield self.preparation.trained(self._candidates(upcoming, images), position.epoch)
            upcoming.pop(0)

    def _candidates(
        self, upcoming: list[tuple[int, RawSample]], images: Iterator[tuple[int, RawSample]]
    ) -> Iterator[tuple[int, RawSample]]:
        """The next image, and those that may replace it, which keep their own turn."""
        for place in range(REPLACEMENTS):
            if place == len(upcoming):
                upcoming.append(next(images))
            yield upcoming[place]


class StreamLoader(CountedLoader):
    """Training batches put together from the parts that workers read.

    Args:
        stream: the parts.
        trims_text: whether texts may be cut to the longest one of a batch.
        num_workers: at most so many loading processes.
        options: for the ``DataLoader`` within.
    """

    def __init__(self, stream: TrainStream, trims_text: bool, num_workers: int, **options: Any) -> None:
        super().__init__(stream.position)
        self._trims_text = trims_text
        self._workers = stream.position.workers(num_workers)
        if self._workers < num_workers:
            warnings.warn(
                f"data.num_workers={num_workers}: {stream.position.lanes} lanes feed {self._workers} workers a process "
                "at most; set data.lanes to a multiple of processes times workers",
                stacklevel=2,
            )
        self._pins = options.pop("pin_memory", False)
        self._loader: DataLoader[Any] = DataLoader(stream, batch_size=None, num_workers=self._workers, **options)

    def remaining(self) -> Iterator[Batch]:
        """Batches of one part from each worker."""
        parts = iter(self._loader)  # one of each worker in turn
        while batch := list(islice(parts, max(1, self._workers))):
            images, texts, labels, indices = (torch.cat(parts) for parts in list(zip(*batch, strict=True))[:4])
            unreadable = tuple(origin for part in batch for origin in part.unreadable)
            whole = dedup_and_trim(Batch(images, texts, labels, indices, unreadable), self._trims_text)
            yield Batch(*(_pinned(part) for part in whole)) if self._pins else whole


def _pinned(part: Any) -> Any:
    return part.pin_memory() if isinstance(part, torch.Tensor) else part


class EvalStream(IterableDataset[Sample]):
    """One worker's samples of an evaluation set; together every sample exactly once.

    Args:
        shards: of the whole set.
        preparation: of evaluation samples.
        rank: of this process.
        world_size: number of processes.
        labels: the classes.
    """

    def __init__(
        self, shards: Sequence[Shard], preparation: SampleBuilder, rank: int, world_size: int, labels: Labels
    ) -> None:
        self.shards, self.preparation, self.labels = shards, preparation, labels
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[Sample]:
        """Samples in the order of their shards."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        reader, readers = self.rank * workers + worker, self.world_size * workers
        for number, share, sharers in assign_shards(len(self.shards), reader, readers):
            samples = read_shard(self.shards[number], number, self.labels)
            for index, image in islice(samples, share, None, sharers):
                if image.label == PADDING:
                    raise ValueError(f"{image.origin} has a caption and no class; a test set needs classes")
                yield self.preparation.evaluated(image, index)


class EqualSteps:
    """Evaluation batches, as many on every rank: one that has no more gets padding until all are done.

    Args:
        loader: of this rank.
        padding: a batch that nothing counts.
    """

    def __init__(self, loader: DataLoader[Any], padding: Batch) -> None:
        self._loader, self._padding = loader, padding

    def __iter__(self) -> Iterator[Batch]:
        """Batches until no rank has any."""
        batches = iter(self._loader)
        while any_rank((batch := next(batches, None)) is not None):
            yield self._padding if batch is None else batch


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; every rank must ask."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.tensor(int(flag), device=device)
    dist.all_reduce(total, op=dist.ReduceOp.MAX)
    return bool(total.item())
