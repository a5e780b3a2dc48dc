"""What there is to know about sets of images before a model is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.data.images.decoding import UnreadableImageError, decode
from tracer_lightning.data.images.image_source import ImageSource

Digest = bytes


class Duplicate(NamedTuple):
    """An image that occurs in two places."""

    first: str
    second: str


@dataclass(frozen=True)
class SetInspection:
    """What was found in a set of images.

    Attributes:
        images: Number of images.
        class_counts: Number of images of each class that has any, by label.
        unreadable: Location of each image that can't be decoded, and why.
        sides: (2, 3) smallest, median and largest width and height in pixels; None if nothing can be decoded.
        origins: Location of the first image with each digest of its content.
        repeated: Images that occur twice in the set.
    """

    images: int
    class_counts: Mapping[int, int]
    unreadable: Sequence[str]
    sides: np.ndarray | None
    origins: Mapping[Digest, str]
    repeated: Sequence[Duplicate]


def inspect_source(source: ImageSource, name: str) -> SetInspection:
    """Read and decode every image of a set once.

    Args:
        source: the images, encoded or drawn.
        name: name of the set, for the progress bar.
    """
    unreadable, sides, repeated = [], [], []
    origins: dict[Digest, str] = {}
    for index in progress_bar(range(len(source)), desc=name, unit="image"):
        sample = source[index]
        try:
            pixels = sample.data if isinstance(sample.data, Tensor) else decode(sample.data)
        except UnreadableImageError as error:
            unreadable.append(f"{sample.origin}: {error}")
            continue
        sides.append(tuple(pixels.shape[:0:-1]))  # width, height
        digest = sha256(_content(sample.data)).digest()
        first = origins.setdefault(digest, sample.origin)
        if first is not sample.origin:
            repeated.append(Duplicate(first, sample.origin))
    counts = Counter(int(label) for label in source.labels if label >= 0)
    quantiles = np.quantile(np.array(sides).T, (0, 0.5, 1), axis=1).T.round().astype(int) if sides else None
    return SetInspection(len(source), counts, unreadable, quantiles, origins, repeated)


def _content(data: Any) -> bytes:
    return data.numpy().tobytes() if isinstance(data, Tensor) else bytes(data)


def shared_images(first: SetInspection, second: SetInspection) -> list[Duplicate]:
    """Images of the second set whose content the first set has, too."""
    return [
        Duplicate(first.origins[digest], origin) for digest, origin in second.origins.items() if digest in first.origins
    ]
