"""Interface of image sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class RawSample(NamedTuple):
    """A sample as its source holds it, before decoding and captioning."""

    data: Any
    """Encoded image (bytes), or a decoded one, (3, H, W) uint8."""
    label: int
    """Class of the image; -1 for none."""
    origin: str
    """Location of the image, for messages."""
    captions: tuple[str, ...] = ()
    """Captions of this image, of which training draws one; empty where captions come from class names and templates."""
    domain: int = 0
    """Index of the domain that the image comes from."""


class ImageSource(Protocol):
    """Random access to labelled images."""

    @property
    def labels(self) -> Sequence[int] | np.ndarray:
        """(N,) classes; -1 for none."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int) -> RawSample:
        """Return one sample."""
