"""Shards in clip-benchmark's format, streamed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from tracer_lightning.data.core.loader import CountedLoader
from tracer_lightning.data.images.samples import Collate, SampleBuilder
from tracer_lightning.data.shards.datamodule import ShardDataModule
from tracer_lightning.data.shards.index import index_shard
from tracer_lightning.data.shards.labels import Labels
from tracer_lightning.data.shards.roots import FetchingRoot
from tracer_lightning.data.shards.samples import REASONS
from tracer_lightning.data.shards.source import no_sample
from tracer_lightning.data.shards.store import Place, Shard
from tracer_lightning.data.shards.stream_loaders import EqualSteps, EvalStream, LanePosition, StreamLoader, TrainStream
from tracer_lightning.data.shards.tar import BLOCK, check_header
from tracer_lightning.types import Batch, EvalSet

ASSUMED_SIZE = 10_000
"""Images of a remote test set where nothing says how many there are."""
NO_ORDER = "data: streams have no random order; read the shards with data/reader=indexed"


def _as_it_is(batch: Batch) -> Batch:
    return batch


class StreamedShardDataModule(ShardDataModule):
    """Shards read from beginning to end, for those that are remote or too many to keep.

    Training shuffles the shards, and the samples within a buffer: shards that were not shuffled when they were written
    (those of clip-benchmark are sorted by class) need a large one. Evaluation sees every sample exactly once, however
    many processes and workers there are.

    Args:
        cache: keep the shards that were read, for the next epoch; otherwise they are read from where they are.
        lanes: how many streams a global batch is put together from: a divisor of the batch size, a multiple of the
            processes and, for all of them to work, of processes times workers.
        shuffle_buffer: samples held to be drawn from, of all lanes together.
        shards: the arguments of :class:`ShardDataModule`.
    """

    def __init__(self, cache: bool, lanes: int, shuffle_buffer: int, **shards: Any) -> None:
        super().__init__(**shards)
        if shuffle_buffer < 1:
            raise ValueError(f"shuffle_buffer must be a whole number of samples >= 1, found {shuffle_buffer}")
        self.cache, self.lanes, self.shuffle_buffer = cache, lanes, shuffle_buffer
        self._checked: set[str] = set()

    def shuffle_evaluation(self, seed: int, samples: int | None = None) -> None:
        """ValueError: shards are read from beginning to end."""
        raise ValueError(NO_ORDER)

    def train_shards(self) -> list[Shard]:
        """The tar files to train on; ValueError where only some of their samples are asked for."""
        if self.shots is not None:
            raise ValueError(
                f"data.shots={self.shots} must know the class of every image beforehand, which a stream does not; read "
                "the shards with data/reader=indexed"
            )
        return super().train_shards()

    def prepare_data(self) -> None:
        """Nothing: shards are fetched when they are read."""

    def train_loader(self) -> CountedLoader:
        """Training batches from the beginning of the first epoch."""
        if self.draws_rows:
            raise ValueError(
                "reproduce.rows_of_captions draws images by number, and a stream has none; choose data/reader=indexed, "
                "or reproduce.rows_of_captions=false"
            )
        shards = self._opened(self.train_shards())
        position = LanePosition(self._train_size(), self.batch_size, self.seed, *self._ranks, lanes=self.lanes)
        stream = TrainStream(shards, self.train_preparation(), position, self.shuffle_buffer, self.train_labels())
        options = {**self._loader_options(), "collate_fn": _as_it_is}
        return StreamLoader(stream, self.spec.trims_text, **options)

    def eval_loader(self, eval_set: EvalSet) -> Iterable[Batch]:
        """Every sample of one evaluation set once, the same number of batches on every rank."""
        entry = self.members[eval_set.name]
        if entry.video:
            return super().eval_loader(eval_set)
        shards = self._opened(self.store.shards(entry.place))
        return self._once(shards, self.eval_preparation(eval_set), self.eval_labels(eval_set))

    def plain_loader(self, shuffled: tuple[int, int | None] | None = None) -> Iterable[Batch]:
        """Every training image once, prepared as those of validation; ValueError where they are to be shuffled."""
        if shuffled is not None:
            raise ValueError(NO_ORDER)
        shards = self._opened(self.train_shards())
        return self._once(shards, self.eval_preparation(self.val_set), self.train_labels())

    def _once(self, shards: list[Shard], preparation: SampleBuilder, labels: Labels) -> Iterable[Batch]:
        stream = EvalStream(shards, preparation, *self._ranks, labels)
        loader: DataLoader[Any] = DataLoader(stream, batch_size=self.eval_batch_size, **self._loader_options())
        return EqualSteps(loader, Collate(self.spec.trims_text)([preparation.evaluated(None, 0)]))

    def _train_size(self) -> int:
        places = list(self.train_places.values())
        if len(places) > 1 and places[0].samples is not None:
            return places[0].samples
        sizes = [self._counted("data.train", place) for place in places]
        counted = [size for size in sizes if size is not None]
        if len(counted) < len(sizes):
            raise ValueError(
                "data.train.samples must say how many samples there are, which no manifest.json does there"
            )
        return sum(counted)

    def set_size(self, eval_set: EvalSet | None) -> int:
        """Images of an evaluation set or, for None, of the training set."""
        if eval_set is None:
            return self._train_size()
        if self.members[eval_set.name].video:
            return super().set_size(eval_set)
        counted = self._counted(f"suite.{eval_set.name}", self.members[eval_set.name].place)
        return ASSUMED_SIZE if counted is None else counted

    def _counted(self, key: str, place: Place) -> int | None:
        """From the manifest or, on this machine, from the headers of the shards."""
        recorded = self.store.expected_samples(key, place)
        shards = self.store.shards(place)
        if recorded is not None or any(shard.root.remote for shard in shards):
            return recorded
        indices = [index_shard(shard.fetch(), self.cache_dir / "indices") for shard in shards]
        count = sum(len(index.label) for index in indices)
        if not count:
            left_out = sum((index.left_out for index in indices), np.zeros(len(REASONS), np.int64))
            raise ValueError(no_sample([shard.fetch() for shard in shards], left_out.tolist()))
        return count

    def _opened(self, shards: list[Shard]) -> list[Shard]:
        """The shards, cached where they are to be, after a look at the first and the last."""
        if self.cache:
            shards = [shard._replace(root=FetchingRoot(shard.root)) for shard in shards]
        for shard in (shards[0], shards[-1]):
            if str(shard) not in self._checked:
                with shard.open() as stream:
                    check_header(shard, stream.read(BLOCK), 0)
                self._checked.add(str(shard))
        return shards
