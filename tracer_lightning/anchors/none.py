"""No anchor texts."""

from __future__ import annotations

from torch import Tensor


def no_anchors(model: object, prompts: Tensor) -> None:
    """Use no anchors: images are compared with the captions of their batch only."""
