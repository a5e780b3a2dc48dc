"""Data module of shards in clip-benchmark's format, read as streams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader

from tracer_lightning.data.images.samples import Collate, SampleBuilder
from tracer_lightning.data.shards.datamodule import ShardDataModule
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.store import Shard, SplitLocation
from tracer_lightning.data.shards.stream_loaders import EvalStream, PaddedLoader
from tracer_lightning.data.shards.stream_training import StreamedTraining, count_local
from tracer_lightning.types import Batch, EvalSet

ASSUMED_SIZE = 10_000
"""Assumed number of images in a remote test set of unknown size."""
NO_SHUFFLING = "streams can't be read in random order; read the shards by index instead"


class StreamedShardDataModule(StreamedTraining, ShardDataModule):
    """Data module that reads shards sequentially, for shards that are remote or too large to store.

    Training shuffles the shards, and their samples within a buffer. Shards that were not shuffled when they were
    written, such as clip-benchmark's, which are sorted by class, need a large buffer. Evaluation reads every sample
    exactly once with any number of processes and workers.

    It has the arguments of :class:`StreamedTraining` and of :class:`ShardDataModule`.
    """

    def shuffle_evaluation(self, seed: int, samples: int | None = None) -> None:
        """Raise ValueError, since shards are read sequentially."""
        raise ValueError(NO_SHUFFLING)

    def prepare_data(self) -> None:
        """Do nothing: shards are downloaded when they are read."""

    def eval_loader(self, eval_set: EvalSet) -> Iterable[Batch]:
        """Loader of every sample of an evaluation set once, in equally many batches on every rank."""
        entry = self.suite_entries[eval_set.name]
        if entry.video:
            return super().eval_loader(eval_set)
        shards = self.prepare_shards(self.store.shards(entry.location))
        return self._single_pass(shards, self.eval_sample_builder(eval_set), self.eval_labels(eval_set))

    def plain_loader(self, shuffled: tuple[int, int | None] | None = None) -> Iterable[Batch]:
        """Loader of every training image once, prepared as in validation; raise ValueError for a random order."""
        if shuffled is not None:
            raise ValueError(NO_SHUFFLING)
        shards = self.prepared_train_shards()
        return self._single_pass(shards, self.eval_sample_builder(self.val_set), self.train_labels())

    def _single_pass(self, shards: list[Shard], builder: SampleBuilder, labels: ClassLabels) -> Iterable[Batch]:
        stream = EvalStream(shards, builder, *self._ranks, labels)
        loader: DataLoader[Any] = DataLoader(stream, batch_size=self.eval_batch_size, **self._loader_options())
        return PaddedLoader(loader, Collate(self.spec.trims_text)([builder.evaluated(None, 0)]))

    def train_shards(self) -> list[Shard]:
        """Training shards."""
        return ShardDataModule.train_shards(self)

    def train_labels(self) -> ClassLabels:
        """Classes of the training samples."""
        return ShardDataModule.train_labels(self)

    def train_size(self) -> int:
        """Number of training samples, which must be known."""
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
            return self.train_size()
        if self.suite_entries[eval_set.name].video:
            return super().set_size(eval_set)
        size = self._count_samples(f"suite.{eval_set.name}", self.suite_entries[eval_set.name].location)
        return ASSUMED_SIZE if size is None else size

    def _count_samples(self, key: str, location: SplitLocation) -> int | None:
        """Read the number of samples from the manifest or, for local shards, count the samples in their headers."""
        recorded = self.store.expected_samples(key, location)
        if recorded is not None:
            return recorded
        return count_local(self.store.shards(location), self.cache_dir / "indices")
