"""Values to predict in place of classes: labels that may hold together, numbers, or the pixels of a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.samples import CaptionedDataset, Sample, SampleBuilder
from tracer_lightning.types import TargetSpec

Task = Literal["classification", "multilabel", "regression", "dense", "mask"]
"""What is predicted of a sample: its class; whether each of K labels holds; K numbers; the number at each pixel of a
map (H, W); or whether each pixel belongs to a mask."""
CLASSIFICATION: Task = "classification"
SHAPES = {"multilabel": "(N, K)", "regression": "(N,) or (N, K)", "dense": "(N, H, W)", "mask": "(N, H, W)"}
"""Shape of the targets of each task but classification."""
BINARY = ("multilabel", "mask")
"""Tasks whose targets are 0 or 1."""
RAREST = 1e-3
"""Share of ones, or of zeros, that a head begins with where there are fewer."""


def check_task(task: str, tasks: Sequence[str] = get_args(Task)) -> None:
    """Raise ValueError for a task that is none of these."""
    if task not in tasks:
        raise ValueError(f"task must be one of {', '.join(tasks)}, got {task!r}")


def check_targets(array: np.ndarray, task: Task, where: str) -> np.ndarray:
    """Targets as float32, (N, K) or (N, H, W).

    Args:
        array: content of a file.
        task: any but classification.
        where: the place of the array, for messages.

    Raises:
        ValueError: the array is of another shape, or not of numbers, or of binary ones others than 0 and 1. NaN, for
            unknown values, is allowed.
    """
    shapes = {"multilabel": (2,), "regression": (1, 2)}.get(task, (3,))
    if array.ndim not in shapes or array.dtype.kind not in "fiub" or 0 in array.shape[1:]:
        raise ValueError(
            f"{where} must be {SHAPES[task]} numbers for task={task}, NaN where they are unknown; found {array.shape}, "
            f"{array.dtype}"
        )
    targets = np.asarray(array, dtype=np.float32)
    targets = targets[:, None] if targets.ndim == 1 else targets
    wrong = np.isinf(targets) if task not in BINARY else ~(np.isnan(targets) | (targets == 0) | (targets == 1))
    if wrong.any():
        place = tuple(int(number) for number in np.argwhere(wrong)[0])
        allowed = "0 or 1" if task in BINARY else "finite"
        raise ValueError(f"{where} must be {allowed} for task={task}; sample {place[0]} has {targets[place]}")
    return targets


def target_spec(targets: np.ndarray, task: Task) -> TargetSpec:
    """Mean and unit of training targets.

    Args:
        targets: (N, K) or (N, H, W), NaN where they are unknown.
        task: any but classification.

    Raises:
        ValueError: there is nothing to learn from.
    """
    known = ~np.isnan(targets)
    if not known.any():
        raise ValueError("train_y must have known values, and all are NaN")
    filled = np.where(known, targets, 0).astype(np.float64)
    mean = filled.sum(axis=0) / np.maximum(1, known.sum(axis=0))
    if task == "mask":
        mean = np.full(mean.shape, filled.sum() / known.sum())  # masks may be anywhere
    if task in BINARY:
        rate = np.clip(mean, RAREST, 1 - RAREST)
        mean, unit = np.log(rate / (1 - rate)), np.ones(() if task == "mask" else mean.shape)
    else:
        axes = 0 if task == "regression" else None
        squares = np.where(known, (filled - mean) ** 2, 0).sum(axis=axes)
        unit = np.sqrt(squares / np.maximum(1, known.sum(axis=axes)))
        unit = np.where(unit > 0, unit, 1.0)  # of a constant
    return TargetSpec(*(torch.as_tensor(values, dtype=torch.float32) for values in (mean, unit)), task in BINARY)


class TargetDataset(CaptionedDataset):
    """Samples of a source, with their values to predict.

    Args:
        source: the samples.
        builder: as for :class:`CaptionedDataset`.
        targets: (N, ...) float32 values of the source's samples.
    """

    def __init__(self, source: ImageSource, builder: SampleBuilder, targets: np.ndarray) -> None:
        super().__init__(source, builder)
        self._targets = torch.from_numpy(targets)
        self._unknown = torch.full(targets.shape[1:], torch.nan)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Sequence[Sample]:
        """Return the samples of several keys; the values of padding are unknown."""
        return [sample._replace(target=self._target(sample.position)) for sample in super().__getitems__(keys)]

    def _target(self, position: int) -> Tensor:
        return self._targets[position] if position >= 0 else self._unknown
