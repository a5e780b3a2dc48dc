"""Few-shot training sets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from tracer_lightning.data.images.image_source import ImageSource, RawSample

STREAM = 0x5407
"""Second entry of the seed, which makes the draw independent of other uses of the seed."""


class ImageSubset:
    """Subset of an image source.

    Args:
        source: all images.
        positions: (N,) positions in the source.
    """

    def __init__(self, source: ImageSource, positions: np.ndarray) -> None:
        self.source, self.positions = source, positions

    @property
    def labels(self) -> np.ndarray:
        """(N,) classes."""
        labels: np.ndarray = np.asarray(self.source.labels)[self.positions]
        return labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self.positions)

    def __getitem__(self, index: int) -> RawSample:
        """Return one sample."""
        return self.source[int(self.positions[index])]


def few_shot(source: ImageSource, shots: int, seed: int, classnames: Sequence[str]) -> ImageSubset:
    """Draw ``shots`` images of each class, in the order of the source; warn of classes that have fewer.

    The draw depends only on the seed and the labels, and the draw for fewer shots is a subset of that for more.

    Args:
        source: full training set.
        shots: number of images per class, >= 1.
        seed: seed of the draw.
        classnames: C class names, for messages.

    Raises:
        ValueError: an image has no class.
    """
    labels = np.asarray(source.labels)
    if unlabelled := int((labels < 0).sum()):
        raise ValueError(
            f"shots={shots} counts images per class, but {unlabelled:,} of the {len(labels):,} training images have no "
            "class; set shots to None"
        )
    order = np.random.default_rng((seed, STREAM)).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]  # each class in random order
    classes, first, sizes = np.unique(labels[by_class], return_index=True, return_counts=True)
    selected = np.arange(len(labels)) - np.repeat(first, sizes) < shots
    if (sizes < shots).any():
        smallest = int(sizes.argmin())
        name = classnames[int(classes[smallest])] or f"class {classes[smallest]}"
        warnings.warn(
            f"shots={shots}: {int((sizes < shots).sum())} of {len(sizes)} classes have fewer images and keep all of "
            f"them; {name!r} has {sizes[smallest]}",
            stacklevel=2,
        )
    return ImageSubset(source, np.sort(by_class[selected]))
