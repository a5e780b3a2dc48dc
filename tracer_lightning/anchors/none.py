"""No anchor texts."""

from __future__ import annotations

from typing import Any


def no_anchors(model: object, **context: Any) -> None:
    """Give no anchors: images are compared with nothing but the captions of their batch."""
