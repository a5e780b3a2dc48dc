"""The data module of standardized arrays, which every format of files of arrays extends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tracer_lightning.data.arrays.splits import (
    ChannelStatistics,
    Split,
    channel_statistics,
    check_splits,
    hold_out,
    standardized,
)
from tracer_lightning.data.arrays.targets import CLASSIFICATION, TargetDataset, Task, target_spec
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.images.names import parse_templates, parse_texts
from tracer_lightning.data.images.samples import CaptionedDataset
from tracer_lightning.types import Batch, ClassTexts, EvalSet, InputSpec


class ArraySource:
    """Source of arrays, which are standardized when they are read.

    Args:
        split: samples and their labels.
        statistics: statistics of the channels.
    """

    def __init__(self, split: Split, statistics: ChannelStatistics) -> None:
        self.labels = split.labels
        self._samples, self._statistics = split.samples, statistics

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def __getitem__(self, index: int) -> RawSample:
        """Return the array (C, L) or (C, H, W) and its class."""
        sample = torch.from_numpy(standardized(self._samples[index], self._statistics))
        return RawSample(sample, int(self.labels[index]), origin=str(index))


class StandardizedDataModule(ClipDataModule):
    """Arrays, each channel standardized by the training split, with classes or values to predict.

    The test split never influences training: where there is no split ``val``, validation samples are held out of
    training. Captions are those of class names, as for images.

    Args:
        spec: input specification of the model, of which only the tokenizer matters.
        name: name of the data set.
        splits: ``train``, ``test`` and perhaps ``val``, not standardized.
        origins: the place of each split, for messages.
        names: class names that the files give, in the order of the labels.
        texts: ``classnames``, which replace those of the files, and ``templates``.
        held_out: ``fraction`` of each class's training samples to validate on, and the ``seed`` of their choice, which
            is independent of the run's; fraction 0 monitors the test set.
        task: what is predicted; all splits have ``targets`` unless it is ``classification``.
        loading: arguments of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``
            and ``shots``.
    """

    def __init__(
        self,
        spec: InputSpec,
        name: str,
        splits: Mapping[str, Split],
        origins: Mapping[str, str],
        names: Sequence[str],
        texts: Mapping[str, Sequence[str] | None],
        held_out: Mapping[str, float],
        task: Task = CLASSIFICATION,
        **loading: Any,
    ) -> None:
        super().__init__(spec, max_bad_fraction=0.0, **loading)
        self.has_classes, self.has_values = task == CLASSIFICATION, task != CLASSIFICATION
        if not self.has_classes:
            names, texts = [name], {**texts, "classnames": None}
            if self.shots is not None:
                raise ValueError(f"shots counts samples per class, and task={task} has none; set shots to None")
        classnames = parse_texts("texts.classnames", texts["classnames"]) or tuple(names)
        if len(classnames) < len(names):
            raise ValueError(
                f"texts.classnames has {len(classnames)} names and {origins['train']} {len(names)} classes"
            )
        self.classnames = classnames
        self.templates = parse_templates("texts.templates", texts["templates"]) or ()
        check_splits(splits, origins, classnames)
        if not 0 <= held_out["fraction"] < 1:
            raise ValueError(f"held_out.fraction must be >= 0 and < 1, got {held_out['fraction']}")
        test = EvalSet(name, "test", "id", samples=len(splits["test"].labels))
        self.eval_sets, self.val_set = (test,), test
        raw, self._about = dict(splits), ""
        if "val" not in raw and held_out["fraction"] > 0:
            rows = hold_out(raw["train"].labels, held_out["fraction"], int(held_out["seed"]))
            if not len(rows[1]):
                raise ValueError(
                    f"{origins['train']} has one sample of each class, so that none can be held out for validation; "
                    "add samples, or set held_out.fraction to 0"
                )
            total = len(raw["train"].labels)
            verb = "is" if len(rows[1]) == 1 else "are"
            self._about = (
                f"{len(rows[1]):,} of {total:,} samples of {origins['train']} ({len(rows[1]) / total:.1%}) {verb} held "
                f"out of training for validation; the test set is {origins['test']}"
            )
            raw["train"], raw["val"] = (splits["train"].take(part) for part in rows)
        if "val" in raw:
            self.val_set = EvalSet(name, "val", "id", samples=len(raw["val"].labels))
        self._splits = raw
        self.statistics = channel_statistics(raw["train"])
        """Statistics of the channels, by which samples are standardized."""
        targets = self._splits["train"].targets
        self._outputs = None if targets is None else target_spec(targets, task)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, L) or (C, H, W) of each sample."""
        return self._splits["train"].samples.shape[1:]

    def train_source(self) -> ArraySource:
        """Training samples without those held out, at least one of every class."""
        return ArraySource(self._splits["train"], self.statistics)

    def eval_source(self, eval_set: EvalSet) -> ArraySource:
        """Samples of an evaluation set."""
        return ArraySource(self._splits[eval_set.split], self.statistics)

    def train_dataset(self) -> CaptionedDataset:
        """Training samples with captions and, if there are some, values to predict."""
        return self._with_targets(super().train_dataset(), "train")

    def eval_dataset(self, eval_set: EvalSet) -> CaptionedDataset:
        """Samples of one evaluation set."""
        return self._with_targets(super().eval_dataset(eval_set), eval_set.split)

    def plain_dataset(self) -> CaptionedDataset:
        """Training samples, prepared as in validation."""
        return self._with_targets(super().plain_dataset(), "train")

    def _with_targets(self, dataset: CaptionedDataset, split: str) -> CaptionedDataset:
        targets = self._splits[split].targets
        return dataset if targets is None else TargetDataset(dataset.source, dataset.builder, targets)

    def training_targets(self) -> Tensor | None:
        """(N, ...) values to predict of all training samples, NaN where unknown; None where they have classes."""
        targets = self._splits["train"].targets
        return None if targets is None else torch.from_numpy(np.array(targets, dtype=np.float32))

    def context(self) -> dict[str, Any]:
        """The prompts of the zero-shot head, or the specification ``outputs`` of the values to predict."""
        return super().context() if self._outputs is None else {"outputs": self._outputs}

    def class_texts(self) -> ClassTexts | None:
        """Class names and templates; None where there are values to predict."""
        return super().class_texts() if self.has_classes else None

    def label_names(self, eval_set: EvalSet) -> list[str]:
        """Names of the labels of an evaluation set; none where there are values to predict."""
        return super().label_names(eval_set) if self.has_classes else []

    def check_losses(self, reads: frozenset[str], terms: Iterable[Any]) -> list[str]:
        """Refuse losses of classes or of captions alone where there are values to predict, and the other way round."""
        if not self.has_classes and ("labels" in reads or "targets" not in reads):
            raise ValueError(
                "the samples have values to predict and no classes, which a loss reads; choose a loss of values, such "
                "as that of prediction=regression"
            )
        return super().check_losses(reads, terms)

    def about_validation(self) -> str:
        """Describe how many samples are held out; empty where validation has its own split."""
        return self._about

    def blank(self) -> Tensor:
        """A sample of zeros."""
        return torch.zeros(self.sample_shape)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """The batch as it is: arrays are standardized when they are read."""
        return batch
