"""Read JSON and YAML files of runs, which may come from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tracer_lightning.storage import read_text


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Loader of YAML without references, a few of which can expand to billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose the next node."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("references (*name) are not allowed")
        return super().compose_node(parent, index)


def read_json(path: Path) -> dict[str, Any]:
    """Read the mapping in a JSON file; ValueError, which names the file, for other content."""
    return _read_mapping(path, json.loads)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file, with a safe loader; ValueError, which names the file, for other content."""
    return _read_mapping(path, lambda text: yaml.load(text, PlainLoader))  # derived from SafeLoader


def _read_mapping(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a valid file of a run: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a valid file of a run: it contains a {type(content).__name__}")
    return content
