"""What a run leaves in its folder."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

RESULTS = "results.json"
DETAILS = "details.json"
CONFIG = "config.yaml"
CHECKPOINT = "checkpoints/last.ckpt"
REPORTED = ("tracer-lightning", "torch", "lightning", "open_clip_torch", "torchmetrics", "numpy")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Write as a whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content, indent=indent) + "\n")
    temporary.replace(path)
