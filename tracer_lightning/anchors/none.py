"""No anchor texts."""

from __future__ import annotations

from torch import Tensor


def no_anchors(model: object, prompts: Tensor) -> None:
    """Images are compared with nothing but the captions of their batch."""
