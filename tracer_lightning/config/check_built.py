"""Checks of a configuration that need the built data module."""

from __future__ import annotations

from collections.abc import Mapping

from omegaconf import DictConfig

from tracer_lightning.data import DataModule
from tracer_lightning.engine.validation import VALIDATION_PREFIX


def check_built(cfg: DictConfig, data: DataModule) -> None:
    """Check the settings of a run that depend on its data: nothing may be selected by scores on a test set.

    Args:
        cfg: validated configuration of a run.
        data: data module of the run.

    Raises:
        ValueError: a sweep's metric or a callback's monitor is of validation, and the data have no validation split.
    """
    if cfg.optimized_metric is not None:
        check_validation_split(f"optimized_metric={cfg.optimized_metric}", data)
    for name, callback in cfg.callbacks.items():
        monitor = callback.get("monitor") if isinstance(callback, Mapping) else None
        if isinstance(monitor, str) and monitor.startswith(VALIDATION_PREFIX):
            check_validation_split(f"callbacks.{name}.monitor={monitor}", data)


def check_validation_split(setting: str, data: DataModule) -> None:
    """Raise ValueError where a setting selects by validation, and the data have no validation split.

    Args:
        setting: name and value of the setting, for the message.
        data: data module whose ``val_set`` is watched during training.
    """
    if data.val_set in data.eval_sets:
        raise ValueError(
            f"{setting}: these data have no validation split, and what is watched during training, "
            f"{data.val_set.name}, is a test set; {data.validation_remedy}"
        )
