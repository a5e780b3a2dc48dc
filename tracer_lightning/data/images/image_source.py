"""What a source of images gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class RawSample(NamedTuple):
    """What a source holds of one sample."""

    data: Any
    """An encoded image (bytes), or one of the model's size (3, H, W) uint8."""
    label: int
    """Its class; -1 where there is none."""
    origin: str
    """Where it is, for messages."""
    caption: str | None = None
    """A caption of its own."""
    domain: int = 0
    """Which of the named domains it comes from."""


class ImageSource(Protocol):
    """Labelled images by position."""

    @property
    def labels(self) -> Sequence[int] | np.ndarray:
        """(N,) classes; -1 where there is none."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> RawSample:
        """One sample."""
