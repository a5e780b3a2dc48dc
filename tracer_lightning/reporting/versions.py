"""Versions of the software that produced results."""

from __future__ import annotations

import importlib.metadata
import platform

REPORTED = ("tracer-lightning", "torch", "torchvision", "lightning", "open_clip_torch", "torchmetrics", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    versions = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
