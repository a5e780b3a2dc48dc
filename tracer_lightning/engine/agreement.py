"""What the processes of a run must agree on: their settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.validate import without_nulls

OWN, GROUPS = ("run", "data.root", "data.num_workers"), ("paths.", "logger.", "callbacks.progress.")
"""Settings, and groups of them, in which processes may differ: what the first one writes, and where data are."""


def compared(cfg: DictConfig) -> dict[str, str]:
    """The settings that all processes share, name to value as JSON."""
    settings: Any = without_nulls(OmegaConf.to_container(cfg, resolve=True))
    own = str(settings["paths"]["output_dir"])
    flat = {key: json.dumps(value).replace(own, "") for key, value in _flat(settings)}
    return {key: value for key, value in flat.items() if key not in OWN and not key.startswith(GROUPS)}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def difference(rank: int, settings: dict[str, str], first: dict[str, str]) -> str:
    """How a process's settings differ from the first one's, in one line; nothing where they don't."""
    for key in sorted({**first, **settings}):
        here, there = (values.get(key, "absent") for values in (settings, first))
        if here != there:
            return (
                f"{key}: rank {rank} has {here} and rank 0 has {there}; give all processes of a run the same settings"
            )
    return ""
