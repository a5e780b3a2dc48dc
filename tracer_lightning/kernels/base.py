"""What a kernel is."""

from __future__ import annotations

from collections.abc import Callable

Kernel = Callable[[float], float]
"""Progress tau in (0, 1) to a weight >= 0. Any callable of this form will do."""


def check_progress(progress: float) -> None:
    """Raise ValueError unless ``progress`` lies in (0, 1)."""
    if not 0.0 < progress < 1.0:
        raise ValueError(f"progress must lie in the open interval (0, 1), found {progress}")
