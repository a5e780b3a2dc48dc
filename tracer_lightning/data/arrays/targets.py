"""Values to predict in place of classes: labels that may hold together, numbers, or the pixels of a map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tracer_lightning.data.arrays.splits import chunks
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
    """Targets, (N, K) or (N, H, W), as float32 unless they are mapped into memory; warn of maps of zeros.

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
    array = array[:, None] if array.ndim == 1 else array
    zero: list[int] = []
    for start, part in chunks(array):
        chunk = np.asarray(part, dtype=np.float32)
        wrong = np.isinf(chunk) if task not in BINARY else ~(np.isnan(chunk) | (chunk == 0) | (chunk == 1))
        if wrong.any():
            place = tuple(int(number) for number in np.argwhere(wrong)[0])
            allowed = "0 or 1" if task in BINARY else "finite"
            raise ValueError(f"{where} must be {allowed} for task={task}; sample {start + place[0]} has {chunk[place]}")
        if task == "dense":
            is_zero = (np.nan_to_num(chunk) == 0).all(axis=(1, 2)) & ~np.isnan(chunk).all(axis=(1, 2))
            zero += (start + np.flatnonzero(is_zero)).tolist()
    if zero:
        warnings.warn(
            f"{where}: {len(zero):,} of {len(array):,} maps are zero everywhere, the first that of sample {zero[0]}; "
            "they have no relative L2 error, so that its loss and its metric leave them out",
            stacklevel=2,
        )
    return array if isinstance(array, np.memmap) else np.asarray(array, dtype=np.float32)


def target_spec(targets: np.ndarray, task: Task) -> TargetSpec:
    """Mean and unit of training targets.

    Args:
        targets: (N, K) or (N, H, W), NaN where they are unknown.
        task: any but classification.

    Raises:
        ValueError: there is nothing to learn from.
    """

    def total(of_chunk: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(K,) or (H, W) sum over the chunks of samples, in double precision, of what is known."""
        return np.asarray(sum(np.nansum(of_chunk(chunk), axis=0, dtype=np.float64) for _, chunk in chunks(targets)))

    known = total(lambda chunk: ~np.isnan(chunk))
    if not known.any():
        raise ValueError("train_y must have known values, and all are NaN")
    mean = total(lambda chunk: chunk) / np.maximum(1, known)
    if task == "mask":
        mean = np.full(mean.shape, (mean * known).sum() / known.sum())  # masks may be anywhere
    if task in BINARY:
        rate = np.clip(mean, RAREST, 1 - RAREST)
        mean, unit = np.log(rate / (1 - rate)), np.ones(() if task == "mask" else mean.shape)
    else:
        squares = total(lambda chunk: np.square(chunk - mean))
        if task == "dense":
            squares, known = squares.sum(), known.sum()
        unit = np.sqrt(squares / np.maximum(1, known))
        unit = np.where(unit > 0, unit, 1.0)  # of a constant
    centre, scale = (torch.as_tensor(values, dtype=torch.float32) for values in (mean, unit))
    return TargetSpec(centre, scale, binary=task in BINARY)


class TargetDataset(CaptionedDataset):
    """Samples of a source, with their values to predict.

    Args:
        source: the samples.
        builder: as for :class:`CaptionedDataset`.
        targets: (N, ...) values of the source's samples.
    """

    def __init__(self, source: ImageSource, builder: SampleBuilder, targets: np.ndarray) -> None:
        super().__init__(source, builder)
        self._targets = targets
        self._unknown = torch.full(targets.shape[1:], torch.nan)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Sequence[Sample]:
        """Return the samples of several keys; the values of padding are unknown."""
        return [sample._replace(target=self._target(sample.position)) for sample in super().__getitems__(keys)]

    def _target(self, position: int) -> Tensor:
        if position < 0:
            return self._unknown
        return torch.from_numpy(np.array(self._targets[position], dtype=np.float32))
