"""Settings of the groups ``align`` and ``kernel`` that differ from their defaults, but have no effect in a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

ALIGN_DEFAULTS = "align/none"
"""Option of the group ``align`` whose settings all others inherit."""
DEFAULT_KERNEL = "kernel/beta"
"""Option of the group ``kernel`` that is chosen by default."""


def ignored_settings(cfg: DictConfig) -> list[str]:
    """A line for each of these settings that the run ignores; none outside a Hydra job, which has no defaults.

    Args:
        cfg: validated configuration of a run.
    """
    if not GlobalHydra.instance().is_initialized():
        return []
    defaults = _load(ALIGN_DEFAULTS)
    lines = [
        f"align.{key}={OmegaConf.select(cfg.align, key)} is ignored: {reason}"
        for key, reason in _without_effect(cfg)
        if OmegaConf.select(cfg.align, key) != OmegaConf.select(defaults, key)
    ]
    if "kernel" not in cfg.teacher.module and cfg.kernel != _load(DEFAULT_KERNEL):
        lines.append("kernel is ignored: the teacher is no weighted average of all steps, or there is none")
    return lines


def _load(option: str) -> DictConfig:
    """An option of a group as its file has it."""
    loader: Any = GlobalHydra.instance().config_loader()
    config: DictConfig = loader.repository.load_config(option).config
    return config


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
