"""Read JSON and YAML files of runs, which may come from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tracer_lightning.storage import read_text

LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
MAX_DEPTH = 100
"""Largest number of nested mappings and lists in YAML: libyaml overflows the stack with many more."""


def read_json(path: Path) -> dict[str, Any]:
    """Read the mapping in a JSON file; ValueError, which names the file, for other content."""
    return _read_mapping(path, json.loads)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file, with a safe loader; ValueError, which names the file, for other content.

    References are refused, since a few of them can expand to billions of values.
    """
    return _read_mapping(path, _parse_yaml)


def _parse_yaml(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("references (*name) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} nested mappings and lists")
    return yaml.load(text, LOADER)  # a safe loader


def _read_mapping(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(read_text(path))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a valid file of a run: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a valid file of a run: it contains a {type(content).__name__}")
    return content
