"""What a run leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tracer_lightning.storage import write_text

RESULTS = "results.json"
DETAILS = "details.json"
CONFIG = "config.yaml"


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Write as a whole or not at all."""
    write_text(path, json.dumps(content, indent=indent) + "\n")
