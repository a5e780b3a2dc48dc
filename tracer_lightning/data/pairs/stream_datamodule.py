"""Data module of pairs whose training shards are read as streams."""

from __future__ import annotations

from typing import Any

from tracer_lightning.data.pairs.datamodule import PairsDataModule
from tracer_lightning.data.shards.labels import NO_LABEL, ClassLabels
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.stream_training import StreamedTraining, count_local
from tracer_lightning.types import EvalSet


class CaptionedOnly(ClassLabels):
    """Labels of samples that must have captions, and need no class."""

    def __init__(self) -> None:
        super().__init__(None)

    def number(self, where: object, label: int | str | None, captioned: bool) -> int:
        """Return -1, for no class; raise ValueError for a sample without captions."""
        if not captioned:
            raise ValueError(f"{where} has a sample with a class and no caption; leave it out, or read by index")
        return NO_LABEL


class StreamedPairsDataModule(StreamedTraining, PairsDataModule):
    """Data module that reads training pairs sequentially, from shards that are remote or too large to store.

    Validation and test sets are read by index, as in :class:`PairsDataModule`. Since streams are read once, no images
    are held out of them, and neither truncated captions nor copies of test images are looked for.

    Args:
        samples: number of training samples; None to count those of local shards.
        streaming: arguments of :class:`StreamedTraining` and of :class:`PairsDataModule`.

    Raises:
        ValueError: the training pairs are no shards, or there is nothing to validate on.
    """

    def __init__(self, samples: int | None, **streaming: Any) -> None:
        held_out = dict(streaming.pop("held_out"))
        if streaming["val"] is None and streaming["tests"] and streaming.get("evaluates", True):
            held_out["fraction"] = 0
        elif streaming["val"] is None and streaming.get("evaluates", True):
            raise ValueError(
                "val must be a file of pairs, because no images can be held out of a stream; set it, or read by index"
            )
        super().__init__(held_out=held_out, **streaming)
        self.samples = samples

    def train_shards(self) -> list[Shard]:
        """Training shards."""
        shards = self.files.shards(self.location)
        if shards is None:
            raise ValueError(f"file must be shards, which streams are read from, got {self.location.file}")
        return shards

    def train_labels(self) -> ClassLabels:
        """No classes."""
        return CaptionedOnly()

    def train_size(self) -> int:
        """Number of training samples, which must be known."""
        size = count_local(self.train_shards(), self.cache_dir / "indices") if self.samples is None else self.samples
        if size is None:
            raise ValueError("samples must be the number of training samples, since the shards are remote")
        return size

    def set_size(self, eval_set: EvalSet | None) -> int:
        """Number of images in an evaluation set or, for None, in the training set."""
        return self.train_size() if eval_set is None else super().set_size(eval_set)
