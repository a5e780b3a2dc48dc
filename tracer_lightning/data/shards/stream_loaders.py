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


class StreamPosition(EpochPosition):
    """Position in an epoch whose samples are read in several streams.

    Args:
        size: number of samples.
        batch_size: number of samples in the *global* batch, a multiple of the streams.
        seed: seed of the order.
        rank: rank of this process.
        world_size: number of processes, a divisor of the streams.
        streams: number of streams; see :class:`tracer_lightning.data.shards.streaming.ShardStream`.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int, world_size: int, streams: int) -> None:
        super().__init__(size, batch_size, seed, rank, world_size)
        if streams < 1 or batch_size % streams or streams % world_size:
            raise ValueError(
                f"streams={streams} must divide batch_size={batch_size} and be a multiple of the {world_size} processes"
            )
        self.streams = streams

    def state_dict(self) -> dict[str, Any]:
        """The position, and the number of streams, on which the order depends."""
        return {**super().state_dict(), "streams": self.streams}

    def workers(self, limit: int) -> int:
        """Return the largest number of workers, at most ``limit``, that divides this rank's number of streams."""
        rank_streams = self.streams // self.world_size
        return next((count for count in range(min(limit, rank_streams), 0, -1) if rank_streams % count == 0), 0)

    def streams_of(self, worker: int, workers: int) -> range:
        """Return the streams that a worker of this rank reads."""
        share = self.streams // self.world_size // workers
        first = self.rank * self.streams // self.world_size + worker * share
        return range(first, first + share)


class TrainStream(IterableDataset[Batch]):
    """A worker's parts of the remaining batches of an epoch.

    Args:
        shards: all shards of the split.
        builder: conversion to training samples.
        position: start position and streams.
        buffer: number of samples in the shuffle buffers of all streams together.
        labels: classes of the samples.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        builder: SampleBuilder,
        position: StreamPosition,
        buffer: int,
        labels: ClassLabels,
    ) -> None:
        self.shards, self.builder, self.position = shards, builder, position
        self.buffer, self.labels = buffer, labels

    def __iter__(self) -> Iterator[Batch]:
        """Yield parts of batches, in the order of their streams; texts have the model's full context length."""
        position, info = self.position, get_worker_info()
        worker_streams = position.streams_of(info.id, info.num_workers) if info else position.streams_of(0, 1)
        iterators = [self._samples(stream, position.consumed // position.streams) for stream in worker_streams]
        samples_per_stream = position.batch_size // position.streams
        for _ in range(len(position) - position.consumed // position.batch_size):
            yield stacked([sample for iterator in iterators for sample in islice(iterator, samples_per_stream)])

    def _samples(self, stream: int, consumed: int) -> Iterator[Sample]:
        """Yield the stream's samples after the first ``consumed`` ones, which are read but not decoded."""
        position = self.position
        stream_buffer = max(1, self.buffer // position.streams)
        samples = iter(
            ShardStream(self.shards, stream, position.streams, position.order_seed, stream_buffer, self.labels)
        )
        next(islice(samples, consumed, consumed), None)
        upcoming: list[tuple[int, RawSample]] = []
        while True:
            yield self.builder.trained(self._candidates(upcoming, samples), position.epoch)
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
                f"num_workers={num_workers}: {stream.position.streams} streams can use at most {self._workers} workers "
                "per process; set streams to a multiple of processes times workers",
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
        builder: conversion to evaluation samples.
        rank: rank of this process.
        world_size: number of processes.
        labels: classes of the samples.
    """

    def __init__(
        self, shards: Sequence[Shard], builder: SampleBuilder, rank: int, world_size: int, labels: ClassLabels
    ) -> None:
        self.shards, self.builder, self.labels = shards, builder, labels
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
                yield self.builder.evaluated(sample, index)


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
