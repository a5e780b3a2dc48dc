"""Few-shot training sets: some images of each class."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from tracer_lightning.data.images.image_source import ImageSource, RawSample

STREAM = 0x5407
"""Beside the seed, so that the draw has random numbers of its own."""


class Subset:
    """Some images of a source.

    Args:
        source: all of them.
        positions: (N,) in the source.
    """

    def __init__(self, source: ImageSource, positions: np.ndarray) -> None:
        self.source, self.positions = source, positions

    @property
    def labels(self) -> np.ndarray:
        """(N,) classes."""
        labels: np.ndarray = np.asarray(self.source.labels)[self.positions]
        return labels

    def __len__(self) -> int:
        """N."""
        return len(self.positions)

    def __getitem__(self, index: int) -> RawSample:
        """One sample."""
        return self.source[int(self.positions[index])]


def few_shot(source: ImageSource, shots: int, seed: int, classnames: Sequence[str]) -> Subset:
    """``shots`` images of each class, in the order of the source; a class that has fewer keeps all, with a warning.

    The draw depends on the seed and the labels alone, and a larger number of shots adds to a smaller one.

    Args:
        source: the whole training set.
        shots: images of each class, >= 1.
        seed: of the draw.
        classnames: C names, for messages.

    Raises:
        ValueError: an image has no class.
    """
    labels = np.asarray(source.labels)
    if unlabelled := int((labels < 0).sum()):
        raise ValueError(
            f"data.shots={shots} counts images per class, and {unlabelled:,} of the {len(labels):,} training images "
            "have none; set data.shots=null"
        )
    order = np.random.default_rng((seed, STREAM)).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]  # each class in random order
    classes, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    kept = np.arange(len(labels)) - np.repeat(first, sizes) < shots
    if (sizes < shots).any():
        smallest = int(sizes.argmin())
        name = classnames[int(classes[smallest])] or f"class {classes[smallest]}"
        warnings.warn(
            f"data.shots={shots}: {int((sizes < shots).sum())} of {len(sizes)} classes have fewer images and keep all, "
            f"{name!r} has {sizes[smallest]}",
            stacklevel=2,
        )
    return Subset(source, np.sort(by_class[kept]))
