"""What software results were made with."""

from __future__ import annotations

import importlib.metadata
import platform

REPORTED = ("tracer-lightning", "torch", "torchvision", "lightning", "open_clip_torch", "torchmetrics", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
