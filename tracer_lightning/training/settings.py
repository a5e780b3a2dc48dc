"""What must hold of a configuration before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.evaluation import METRICS


def check_settings(cfg: DictConfig) -> None:
    """Raise ValueError for the first setting that is missing or impossible."""
    for key in sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{key} is not set and has no default; give it as {key}=VALUE")
    settings: Any = cfg
    _whole(settings.seed, "seed", 0)
    _whole(settings.trainer.accumulate_grad_batches, "trainer.accumulate_grad_batches", 1)
    for key in ("max_epochs", "max_steps"):
        if settings.trainer[key] == 0:
            raise ValueError(f"trainer.{key}=0 trains nothing; give at least 1, or -1 for no limit")
    if settings.headline not in METRICS:
        raise ValueError(f"headline must be one of {', '.join(METRICS)}, found {settings.headline!r}")
    if settings.suite and "suite" not in settings.data:
        raise ValueError(
            "suite names test sets of shards, and these data have their own; choose data=shards or the like"
        )
    for key in ("resume", "init_weights"):
        if not isinstance(settings[key], str | None):
            raise ValueError(f"{key} must be a path or null, found {settings[key]!r}")
    required = settings.prerequisite
    if required is not None and not (isinstance(required, Mapping) and set(required) == {"experiment", "overrides"}):
        raise ValueError(f"prerequisite must be null or have experiment and overrides, found {required!r}")


def _whole(value: Any, key: str, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{key} must be a whole number >= {least}, found {value!r}")
