"""Labelled arrays of one split, their statistics, and the samples held out of training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

CHUNK, CHUNK_BYTES = 512, 64 << 20
"""Greatest number of samples, and of their bytes in double precision (64 MiB), that are looked at at once, because all
may not fit into memory."""
MANY_CHANNELS = 5
"""Number of constant channels that a warning lists."""


class Split(NamedTuple):
    """Labelled samples of one split."""

    samples: np.ndarray
    """(N, C, L) or (N, C, H, W), perhaps mapped into memory; NaN behind the ends of shorter series."""
    labels: np.ndarray
    """(N,) classes, int64; zeros where there are values to predict instead."""
    targets: np.ndarray | None = None
    """(N, K) or (N, H, W) values to predict, NaN where they are unknown; None for classification."""

    def take(self, rows: np.ndarray) -> Split:
        """The samples at these positions (M,)."""
        targets = None if self.targets is None else self.targets[rows]
        return Split(self.samples[rows], self.labels[rows], targets)


def chunks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Position of the first sample, and the samples, of consecutive parts of an array (N, ...) that fit into memory."""
    size = CHUNK_BYTES // (np.dtype(np.float64).itemsize * math.prod(array.shape[1:]))
    size = min(CHUNK, max(1, size))
    return ((start, array[start : start + size]) for start in range(0, len(array), size))


class ChannelStatistics(NamedTuple):
    """Statistics of the channels of a training split, for :func:`standardized`."""

    mean: np.ndarray
    """(C, 1) or (C, 1, 1)."""
    std: np.ndarray
    """(C, 1) or (C, 1, 1); 1 for constant channels."""


def channel_statistics(train: Split) -> ChannelStatistics:
    """Mean and standard deviation of each channel, over samples and positions; warn of constant channels.

    A channel is constant whose deviations from its mean are no more than single precision's rounding of it.
    """
    axes = (0, *range(2, train.samples.ndim))

    def total(of_chunk: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(C, 1) or (C, 1, 1) sum over the chunks of samples, in double precision."""
        parts = (of_chunk(chunk) for _, chunk in chunks(train.samples))
        sums = (np.nansum(part, axis=axes, keepdims=True, dtype=np.float64) for part in parts)
        result: np.ndarray = np.asarray(sum(sums))[0]
        return result

    count = total(lambda chunk: ~np.isnan(chunk))
    mean = total(lambda chunk: chunk) / count
    std = np.sqrt(total(lambda chunk: np.square(chunk - mean)) / count)
    constant = std.ravel() <= np.finfo(np.float32).eps * np.abs(mean.ravel())
    if constant.any():
        channels = np.flatnonzero(constant)
        listed = ", ".join(map(str, channels[:MANY_CHANNELS]))
        warnings.warn(
            f"{len(channels)} of {len(std)} channels are constant in the training split and are only centred: {listed}"
            f"{', ...' if len(channels) > MANY_CHANNELS else ''}",
            stacklevel=2,
        )
    return ChannelStatistics(mean, np.where(constant.reshape(std.shape), 1.0, std))


def standardized(samples: np.ndarray, statistics: ChannelStatistics) -> np.ndarray:
    """(x - mean) / std, float32, with zeros, the mean of the training split, behind the ends of shorter series."""
    values: np.ndarray = np.nan_to_num((samples - statistics.mean) / statistics.std, nan=0.0).astype(np.float32)
    return values


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into training and held-out ones, class by class.

    Args:
        labels: (N,) classes.
        fraction: fraction of each class to hold out, in (0, 1); at least one sample, and never all of them.
        seed: seed of the choice.

    Returns:
        Ascending positions of the training samples and of those held out.
    """
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members) - 1, max(1, round(fraction * len(members))))
        held_out[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def check_splits(splits: Mapping[str, Split], origins: Mapping[str, str], classnames: Sequence[str]) -> None:
    """Raise ValueError for values, labels or shapes that can't be trained or tested on.

    Args:
        splits: ``train`` and others by name.
        origins: the place of each split, for messages.
        classnames: C class names.
    """
    shape = splits["train"].samples.shape[1:]
    for name, split in splits.items():
        where = origins[name]
        if split.samples.shape[1:] != shape:
            raise ValueError(
                f"{where}: samples must have the shape {shape} of {origins['train']}, found {split.samples.shape[1:]}"
            )
        if len(split.samples) != len(split.labels):
            raise ValueError(f"{where}: there must be a label for each of {len(split.samples)} samples, found "
                             f"{len(split.labels)}")  # fmt: skip
        if split.targets is not None:
            _check_target_shapes(split, splits["train"], where)
        if not len(split.labels):
            raise ValueError(f"{where}: there are no samples; add some")
        outside = np.flatnonzero((split.labels < 0) | (split.labels >= len(classnames)))
        if len(outside):
            raise ValueError(
                f"{where}: labels must be 0 to {len(classnames) - 1}, found {split.labels[outside[0]]} of sample "
                f"{outside[0]}"
            )
    missing = sorted(set(range(len(classnames))) - set(splits["train"].labels.tolist()))
    if missing:
        raise ValueError(
            f"{origins['train']}: no training sample is of class {missing[0]} ({classnames[missing[0]]}); add samples, "
            "or leave the class out"
        )


def _check_target_shapes(split: Split, train: Split, where: str) -> None:
    """Raise ValueError where values to predict differ in shape from those of training, or from the samples' pixels."""
    assert split.targets is not None
    assert train.targets is not None
    shape, expected = split.targets.shape[1:], train.targets.shape[1:]
    if shape != expected:
        raise ValueError(f"{where}: values to predict must have the shape {expected} of training, found {shape}")
    if len(shape) == 2 and shape != split.samples.shape[2:]:
        raise ValueError(
            f"{where}: pixels to predict must be those of the samples, {split.samples.shape[2:]}, found {shape}"
        )
