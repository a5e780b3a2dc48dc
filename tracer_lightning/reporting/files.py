"""Reading what a run wrote, or somebody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tracer_lightning.storage import read_text


class PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without references, a few of which can stand for billions of values."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has references (*name), which no run writes")
        return super().compose_node(parent, index)


def read_json(path: Path) -> dict[str, Any]:
    """The entries of a JSON file; ValueError, which names it, where it holds something else."""
    return _entries(path, json.loads)


def read_yaml(path: Path) -> dict[str, Any]:
    """The entries of a YAML file, none of which is executed; ValueError, which names it, where it holds others."""
    return _entries(path, lambda text: yaml.load(text, PlainLoader))  # of a safe loader


def _entries(path: Path, parse: Any) -> dict[str, Any]:
    try:
        found = parse(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not as a run writes it: {reason}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not as a run writes it: it holds a {type(found).__name__}")
    return found
