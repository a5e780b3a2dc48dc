"""No anchor texts."""

from __future__ import annotations

from typing import Any


def no_anchors(model: object, **context: Any) -> None:
    """Use no anchors: images are compared with the captions of their batch only."""
