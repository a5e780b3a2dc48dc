"""Settings that all processes of a run must share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tracer_lightning.engine.settings import flatten, without_nulls

LOCAL = ("run", "data.root", "data.num_workers")
"""Settings in which processes may differ: the run's name, which only the first process uses, and where data are."""
LOCAL_GROUPS = ("paths.", "logger.", "callbacks.progress.")
"""Groups of settings in which processes may differ."""


def shared_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that all processes must share, dotted name to value as JSON.

    Args:
        settings: the resolved settings of this process.
    """
    folder = str(settings["paths"]["output_dir"])
    values = {key: json.dumps(value).replace(folder, "") for key, value in flatten(without_nulls(settings))}
    return {key: value for key, value in values.items() if key not in LOCAL and not key.startswith(LOCAL_GROUPS)}


def describe_difference(rank: int, settings: dict[str, str], first: dict[str, str]) -> str:
    """One difference between a process's settings and those of rank 0, in one line; empty without any.

    Of several, it is that of the least nested setting, which the others may be derived from.
    """
    for key in sorted({**first, **settings}, key=lambda name: (name.count("."), name)):
        own, expected = (values.get(key, "absent") for values in (settings, first))
        if own != expected:
            return (
                f"{key}: rank {rank} has {own} and rank 0 has {expected}; give all processes of a run the same settings"
            )
    return ""
