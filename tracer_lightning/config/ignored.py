"""Settings of the group ``align`` that differ from their defaults, but have no effect in a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

DEFAULTS = "align/none"
"""Option of the group whose settings all others inherit."""


def ignored_settings(cfg: DictConfig) -> list[str]:
    """A line for each setting of stages 0 and 1 that the run ignores; none outside a Hydra job, which has no defaults.

    Args:
        cfg: validated configuration of a run.
    """
    if not GlobalHydra.instance().is_initialized():
        return []
    loader: Any = GlobalHydra.instance().config_loader()
    defaults = loader.repository.load_config(DEFAULTS).config
    return [
        f"align.{key}={OmegaConf.select(cfg.align, key)} is ignored: {reason}"
        for key, reason in _without_effect(cfg)
        if OmegaConf.select(cfg.align, key) != OmegaConf.select(defaults, key)
    ]


def _without_effect(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """Settings without effect, and why."""
    name, learns = f"align={cfg.align.name}", cfg.align.transport is not None or cfg.align.labels is not None
    if not cfg.embedder:
        keys = ("weight", "schedule", "distance", "space", "source_samples", "steps", "samples", "lr", "pseudo_labels")
        yield from ((key, "embedder=pixels has no stage 1") for key in keys)
        return
    if cfg.align.labels is None:
        yield "weight", f"{name} has no term of labels"
    if cfg.align.transport is None:
        yield "distance", f"{name} minimises no distance"
    if not learns:
        yield from ((key, f"{name} learns nothing") for key in ("steps", "lr"))
    if not cfg.align.recalibrate.penalty:
        if not learns:
            yield "samples", f"{name} learns nothing"
        yield from ((f"recalibrate.{key}", "align.recalibrate.penalty is 0") for key in ("tau", "steps", "lr"))
