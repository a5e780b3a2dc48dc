"""Loaders of batches of streamed shards."""

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
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.streaming import ShardStream, assign_shards, read_shard
from tracer_lightning.types import Batch


class LanePosition(EpochPosition):
    """Position in an epoch whose samples are read in several streams, called lanes.

    Args:
        size: number of samples.
        batch_size: number of samples in the *global* batch, a multiple of the lanes.
        seed: seed of the order.
        rank: rank of this process.
        world_size: number of processes, a divisor of the lanes.
        lanes: number of streams; see :class:`tracer_lightning.data.shards.streaming.ShardStream`.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int, world_size: int, lanes: int) -> None:
        super().__init__(size, batch_size, seed, rank, world_size)
        if lanes < 1 or batch_size % lanes or lanes % world_size:
            raise ValueError(
                f"lanes={lanes} must divide batch_size={batch_size} and be a multiple of the {world_size} processes"
            )
        self.lanes = lanes

    def state_dict(self) -> dict[str, Any]:
        """The position, and the number of lanes, on which the order depends."""
        return {**super().state_dict(), "lanes": self.lanes}

    def workers(self, limit: int) -> int:
        """Return the largest number of workers, at most ``limit``, that divides this rank's number of lanes."""
        rank_lanes = self.lanes // self.world_size
        return next((count for count in range(min(limit, rank_lanes), 0, -1) if rank_lanes % count == 0), 0)

    def lanes_of(self, worker: int, workers: int) -> range:
        """Return the lanes that a worker of this rank reads."""
        share = self.lanes // self.world_size // workers
        first = self.rank * self.lanes // self.world_size + worker * share
        return range(first, first + share)


class TrainStream(IterableDataset[Batch]):
    """A worker's parts of the remaining batches of an epoch.

    Args:
        shards: all shards of the split.
        preparation: conversion to training samples.
        position: start position and lanes.
        buffer: number of samples in the shuffle buffers of all lanes together.
        labels: classes of the samples.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        preparation: SampleBuilder,
        position: LanePosition,
        buffer: int,
        labels: ClassLabels,
    ) -> None:
        self.shards, self.preparation, self.position = shards, preparation, position
        self.buffer, self.labels = buffer, labels

    def __iter__(self) -> Iterator[Batch]:
        """Yield parts of batches, in the order of their lanes; texts have the model's full context length."""
        position, info = self.position, get_worker_info()
        worker_lanes = position.lanes_of(info.id, info.num_workers) if info else position.lanes_of(0, 1)
        streams = [self._samples(lane, position.consumed // position.lanes) for lane in worker_lanes]
        samples_per_lane = position.batch_size // position.lanes
        for _ in range(len(position) - position.consumed // position.batch_size):
            yield stacked([sample for stream in streams for sample in islice(stream, samples_per_lane)])

    def _samples(self, lane: int, consumed: int) -> Iterator[Sample]:
        """Yield the lane's samples after the first ``consumed`` ones, which are read but not decoded."""
        position = self.position
        lane_buffer = max(1, self.buffer // position.lanes)
        samples = iter(ShardStream(self.shards, lane, position.lanes, position.order_seed, lane_buffer, self.labels))
        next(islice(samples, consumed, consumed), None)
        upcoming: list[tuple[int, RawSample]] = []
        while True:
            yield self.preparation.trained(self._candidates(upcoming, samples), position.epoch)
            upcoming.pop(0)

    def _candidates(
        self, upcoming: list[tuple[int, RawSample]], samples: Iterator[tuple[int, RawSample]]
    ) -> Iterator[tuple[int, RawSample]]:
        """Yield the next sample, and then the upcoming ones that may replace it, which also keep their own turn."""
        for index in range(REPLACEMENTS):
            if index == len(upcoming):
                upcoming.append(next(samples))
            yield upcoming[index]


class StreamLoader(CountedLoader):
    """Loader of training batches that are assembled from parts of several workers.

    Args:
        stream: parts of batches.
        trims_text: whether texts may be cut to the longest one of a batch.
        num_workers: maximum number of worker processes.
        options: further arguments of the wrapped ``DataLoader``.
    """

    def __init__(self, stream: TrainStream, trims_text: bool, num_workers: int, **options: Any) -> None:
        super().__init__(stream.position)
        self._trims_text = trims_text
        self._workers = stream.position.workers(num_workers)
        if self._workers < num_workers:
            warnings.warn(
                f"num_workers={num_workers}: {stream.position.lanes} lanes can use at most {self._workers} workers per "
                "process; set lanes to a multiple of processes times workers",
                stacklevel=2,
            )
        self._pin_memory = options.pop("pin_memory", False)
        self._loader: DataLoader[Any] = DataLoader(stream, batch_size=None, num_workers=self._workers, **options)

    def remaining(self) -> Iterator[Batch]:
        """Yield batches of one part from each worker."""
        parts = iter(self._loader)  # alternates between the workers
        while batch_parts := list(islice(parts, max(1, self._workers))):
            images, texts, labels, indices = (
                torch.cat(tensors) for tensors in list(zip(*batch_parts, strict=True))[:4]
            )
            unreadable = tuple(origin for part in batch_parts for origin in part.unreadable)
            full_batch = dedup_and_trim(Batch(images, texts, labels, indices, unreadable), self._trims_text)
            yield Batch(*(_pin(field) for field in full_batch)) if self._pin_memory else full_batch


def _pin(field: Any) -> Any:
    return field.pin_memory() if isinstance(field, torch.Tensor) else field


class EvalStream(IterableDataset[Sample]):
    """A worker's samples of an evaluation set; all workers together read every sample exactly once.

    Args:
        shards: all shards of the set.
        preparation: conversion to evaluation samples.
        rank: rank of this process.
        world_size: number of processes.
        labels: classes of the samples.
    """

    def __init__(
        self, shards: Sequence[Shard], preparation: SampleBuilder, rank: int, world_size: int, labels: ClassLabels
    ) -> None:
        self.shards, self.preparation, self.labels = shards, preparation, labels
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Iterator[Sample]:
        """Yield samples in the order of their shards."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        reader, readers = self.rank * workers + worker, self.world_size * workers
        for number, offset, stride in assign_shards(len(self.shards), reader, readers):
            samples = read_shard(self.shards[number], number, self.labels)
            for index, sample in islice(samples, offset, None, stride):
                if sample.label == PADDING:
                    raise ValueError(f"{sample.origin} has a caption but no class; a test set needs classes")
                yield self.preparation.evaluated(sample, index)


class PaddedLoader:
    """Loader of equally many evaluation batches on every rank: ranks without further batches yield padding.

    Args:
        loader: loader of this rank.
        padding: batch without labelled samples.
    """

    def __init__(self, loader: DataLoader[Any], padding: Batch) -> None:
        self._loader, self._padding = loader, padding

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches until no rank has any left."""
        batches = iter(self._loader)
        while any_rank((batch := next(batches, None)) is not None):
            yield self._padding if batch is None else batch


def any_rank(flag: bool) -> bool:
    """Whether the flag is set on any rank; all ranks must call this."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.tensor(int(flag), device=device)
    dist.all_reduce(total, op=dist.ReduceOp.MAX)
    return bool(total.item())
