"""Training on shards that are read as streams, for data modules of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracer_lightning.data.core.loader import CountedLoader
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.shards.index import index_shard
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.roots import FetchingRoot
from tracer_lightning.data.shards.samples import REASONS
from tracer_lightning.data.shards.source import describe_empty_split
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.stream_loaders import StreamLoader, StreamPosition, TrainStream
from tracer_lightning.data.shards.tar import BLOCK, check_header
from tracer_lightning.types import Batch


def _identity(batch: Batch) -> Batch:
    return batch


def count_local(shards: Sequence[Shard], indices: Path) -> int | None:
    """Count the samples of local shards in their headers; None for remote ones.

    Args:
        shards: all shards of a split.
        indices: folder for indices.

    Raises:
        ValueError: there is no sample.
    """
    if any(shard.root.remote for shard in shards):
        return None
    scanned = [index_shard(shard.fetch(), indices) for shard in shards]
    count = sum(len(index.label) for index in scanned)
    if not count:
        left_out = sum((index.left_out for index in scanned), np.zeros(len(REASONS), np.int64))
        raise ValueError(describe_empty_split([shard.fetch() for shard in shards], left_out.tolist()))
    return count


class StreamedTraining(ClipDataModule):
    """The part of a data module that reads training shards sequentially.

    Training shuffles the shards, and their samples within a buffer. A subclass gives ``train_shards``,
    ``train_labels`` and ``train_size``.

    Args:
        cache: whether shards are stored locally for the next epoch; otherwise they are read remotely in every epoch.
        streams: number of streams that a global batch is assembled from: a divisor of the batch size and a multiple of
            the number of processes; to use all workers, a multiple of processes times workers.
        shuffle_buffer: number of samples in the shuffle buffers of all streams together.
        rest: arguments of the next class.
    """

    def __init__(self, cache: bool, streams: int, shuffle_buffer: int, **rest: Any) -> None:
        super().__init__(**rest)
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer must be >= 1, got {shuffle_buffer}")
        if self.in_memory is True:
            raise ValueError(
                "in_memory=True keeps images by their position, which streams don't provide; set in_memory to 'auto' "
                "or False, or read the shards by index"
            )
        self.cache, self.streams, self.shuffle_buffer = cache, streams, shuffle_buffer
        self._checked: set[str] = set()

    def train_shards(self) -> list[Shard]:
        """Training shards."""
        raise NotImplementedError

    def train_labels(self) -> ClassLabels:
        """Classes of the training samples."""
        raise NotImplementedError

    def train_size(self) -> int:
        """Number of training samples."""
        raise NotImplementedError

    def mix_in(self, *args: Any, **options: Any) -> None:
        """Raise ValueError, since auxiliary samples are drawn by position."""
        raise ValueError(
            "samples of several sets are drawn by position, which streams don't provide; read the shards by index"
        )

    def train_loader(self) -> CountedLoader:
        """Loader of training batches from the beginning of the first epoch."""
        if self.draws_image_template_pairs:
            raise ValueError(
                "pairs of images and templates are drawn by position, which streams don't provide; set "
                "image_template_pairs to False, or read the shards by index"
            )
        shards = self.prepared_train_shards()
        position = StreamPosition(self.train_size(), self.batch_size, self.seed, *self._ranks, streams=self.streams)
        stream = TrainStream(shards, self.train_sample_builder(), position, self.shuffle_buffer, self.train_labels())
        options = {**self._loader_options(), "collate_fn": _identity}
        return StreamLoader(stream, self.spec.trims_text, **options)

    def prepared_train_shards(self) -> list[Shard]:
        """Training shards, checked; raise ValueError for few-shot training."""
        if self.shots is not None:
            raise ValueError(
                f"shots={self.shots} requires the classes of all images in advance, which streams don't provide; set "
                "shots to None, or read the shards by index"
            )
        return self.prepare_shards(self.train_shards())

    def prepare_shards(self, shards: list[Shard]) -> list[Shard]:
        """Set up caching of the shards, and check that the first and the last one are tar files."""
        if self.cache:
            shards = [shard._replace(root=FetchingRoot(shard.root)) for shard in shards]
        for shard in (shards[0], shards[-1]):
            if str(shard) not in self._checked:
                with shard.open() as stream:
                    check_header(shard, stream.read(BLOCK), 0)
                self._checked.add(str(shard))
        return shards
