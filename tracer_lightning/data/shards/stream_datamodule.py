"""Data module of shards in clip-benchmark's format, read as streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from tracer_lightning.data.core.loader import CountedLoader
from tracer_lightning.data.images.samples import Collate, SampleBuilder
from tracer_lightning.data.shards.datamodule import ShardDataModule
from tracer_lightning.data.shards.index import index_shard
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.roots import FetchingRoot
from tracer_lightning.data.shards.samples import REASONS
from tracer_lightning.data.shards.source import describe_empty_split
from tracer_lightning.data.shards.store import Shard, SplitLocation
from tracer_lightning.data.shards.stream_loaders import (
    EvalStream,
    PaddedLoader,
    StreamLoader,
    StreamPosition,
    TrainStream,
)
from tracer_lightning.data.shards.tar import BLOCK, check_header
from tracer_lightning.types import Batch, EvalSet

ASSUMED_SIZE = 10_000
"""Assumed number of images in a remote test set of unknown size."""
NO_SHUFFLING = "streams can't be read in random order; read the shards by index instead"


def _identity(batch: Batch) -> Batch:
    return batch


class StreamedShardDataModule(ShardDataModule):
    """Data module that reads shards sequentially, for shards that are remote or too large to store.

    Training shuffles the shards, and their samples within a buffer. Shards that were not shuffled when they were
    written, such as clip-benchmark's, which are sorted by class, need a large buffer. Evaluation reads every sample
    exactly once with any number of processes and workers.

    Args:
        cache: whether shards are stored locally for the next epoch; otherwise they are read remotely in every epoch.
        streams: number of streams that a global batch is assembled from: a divisor of the batch size and a multiple of
            the number of processes; to use all workers, a multiple of processes times workers.
        shuffle_buffer: number of samples in the shuffle buffers of all streams together.
        shards: arguments of :class:`ShardDataModule`.
    """

    def __init__(self, cache: bool, streams: int, shuffle_buffer: int, **shards: Any) -> None:
        super().__init__(**shards)
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer must be >= 1, got {shuffle_buffer}")
        if self.in_memory is True:
            raise ValueError(
                "in_memory=True keeps images by their position, which streams don't provide; set in_memory to 'auto' "
                "or False, or read the shards by index"
            )
        self.cache, self.streams, self.shuffle_buffer = cache, streams, shuffle_buffer
        self._checked: set[str] = set()

    def shuffle_evaluation(self, seed: int, samples: int | None = None) -> None:
        """Raise ValueError, since shards are read sequentially."""
        raise ValueError(NO_SHUFFLING)

    def mix_in(self, *args: Any, **options: Any) -> None:
        """Raise ValueError, since auxiliary samples are drawn by position."""
        raise ValueError(
            "samples of several sets are drawn by position, which streams don't provide; read the shards by index"
        )

    def train_shards(self) -> list[Shard]:
        """Training shards; raise ValueError for few-shot training."""
        if self.shots is not None:
            raise ValueError(
                f"shots={self.shots} requires the classes of all images in advance, which streams don't provide; set "
                "shots to None, or read the shards by index"
            )
        return super().train_shards()

    def prepare_data(self) -> None:
        """Do nothing: shards are downloaded when they are read."""

    def train_loader(self) -> CountedLoader:
        """Loader of training batches from the beginning of the first epoch."""
        if self.draws_image_template_pairs:
            raise ValueError(
                "pairs of images and templates are drawn by position, which streams don't provide; set "
                "image_template_pairs to False, or read the shards by index"
            )
        shards = self._prepare_shards(self.train_shards())
        position = StreamPosition(self._train_size(), self.batch_size, self.seed, *self._ranks, streams=self.streams)
        stream = TrainStream(shards, self.train_sample_builder(), position, self.shuffle_buffer, self.train_labels())
        options = {**self._loader_options(), "collate_fn": _identity}
        return StreamLoader(stream, self.spec.trims_text, **options)

    def eval_loader(self, eval_set: EvalSet) -> Iterable[Batch]:
        """Loader of every sample of an evaluation set once, in equally many batches on every rank."""
        entry = self.suite_entries[eval_set.name]
        if entry.video:
            return super().eval_loader(eval_set)
        shards = self._prepare_shards(self.store.shards(entry.location))
        return self._single_pass(shards, self.eval_sample_builder(eval_set), self.eval_labels(eval_set))

    def plain_loader(self, shuffled: tuple[int, int | None] | None = None) -> Iterable[Batch]:
        """Loader of every training image once, prepared as in validation; raise ValueError for a random order."""
        if shuffled is not None:
            raise ValueError(NO_SHUFFLING)
        shards = self._prepare_shards(self.train_shards())
        return self._single_pass(shards, self.eval_sample_builder(self.val_set), self.train_labels())

    def _single_pass(self, shards: list[Shard], builder: SampleBuilder, labels: ClassLabels) -> Iterable[Batch]:
        stream = EvalStream(shards, builder, *self._ranks, labels)
        loader: DataLoader[Any] = DataLoader(stream, batch_size=self.eval_batch_size, **self._loader_options())
        return PaddedLoader(loader, Collate(self.spec.trims_text)([builder.evaluated(None, 0)]))

    def _train_size(self) -> int:
        locations = list(self.train_locations.values())
        if len(locations) > 1 and locations[0].samples is not None:
            return locations[0].samples
        sizes = [self._count_samples("train", location) for location in locations]
        known_sizes = [size for size in sizes if size is not None]
        if len(known_sizes) < len(sizes):
            raise ValueError(
                "train.samples must be the number of samples, since a training folder has no manifest.json"
            )
        return sum(known_sizes)

    def set_size(self, eval_set: EvalSet | None) -> int:
        """Number of images in an evaluation set or, for None, in the training set."""
        if eval_set is None:
            return self._train_size()
        if self.suite_entries[eval_set.name].video:
            return super().set_size(eval_set)
        size = self._count_samples(f"suite.{eval_set.name}", self.suite_entries[eval_set.name].location)
        return ASSUMED_SIZE if size is None else size

    def _count_samples(self, key: str, location: SplitLocation) -> int | None:
        """Read the number of samples from the manifest or, for local shards, count the samples in their headers."""
        recorded = self.store.expected_samples(key, location)
        shards = self.store.shards(location)
        if recorded is not None or any(shard.root.remote for shard in shards):
            return recorded
        indices = [index_shard(shard.fetch(), self.cache_dir / "indices") for shard in shards]
        count = sum(len(index.label) for index in indices)
        if not count:
            left_out = sum((index.left_out for index in indices), np.zeros(len(REASONS), np.int64))
            raise ValueError(describe_empty_split([shard.fetch() for shard in shards], left_out.tolist()))
        return count

    def _prepare_shards(self, shards: list[Shard]) -> list[Shard]:
        """Set up caching of the shards, and check that the first and the last one are tar files."""
        if self.cache:
            shards = [shard._replace(root=FetchingRoot(shard.root)) for shard in shards]
        for shard in (shards[0], shards[-1]):
            if str(shard) not in self._checked:
                with shard.open() as stream:
                    check_header(shard, stream.read(BLOCK), 0)
                self._checked.add(str(shard))
        return shards
