"""Scores of the last validation of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.data import DataModule

VALIDATION_PREFIX = "val/"
"""Prefix of the names of logged validation metrics."""


def last_validation(trainer: pl.Trainer, module: Any, data: DataModule) -> dict[str, dict[str, float]]:
    """Scores of the last validation of a fit, which is that of the trained model; data set to metrics.

    Where the fit did not end with a validation, as in the middle of an epoch, or continued a finished run, one is run
    now. It is not logged, so that ``metrics.csv`` is the same however often a run was continued.
    """
    if module.validated_step != trainer.global_step:
        loggers, trainer.loggers = trainer.loggers, []
        try:
            trainer.validate(module, datamodule=data, verbose=False)
        finally:
            trainer.loggers = loggers
    return logged_validation(trainer.callback_metrics)


def logged_validation(logged: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Data set to metrics, from values logged as ``val/<set>/<metric>``."""
    scores: dict[str, dict[str, float]] = {}
    for name, value in logged.items():
        if name.startswith(VALIDATION_PREFIX):
            data_set, _, metric = name.removeprefix(VALIDATION_PREFIX).rpartition("/")
            scores.setdefault(data_set, {})[metric] = float(value)
    return scores
