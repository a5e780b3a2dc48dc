"""The figure that a sweeper searches by: of the last validation, never of a test set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.data import DataModule
from tracer_lightning.evaluation import METRICS

STAGE = "val/"
"""What the names of logged validation metrics begin with."""


def check_optimized_metric(metric: Any, data: DataModule) -> None:
    """Raise ValueError before training for a metric that validation will not yield."""
    if metric is None:
        return
    if metric not in METRICS:
        raise ValueError(f"optimized_metric must be null or one of {', '.join(METRICS)}, found {metric!r}")
    check_validation(f"optimized_metric={metric}", data)


def check_validation(choice: str, data: DataModule) -> None:
    """Raise ValueError where what chooses by the validation split would choose by a test set.

    Args:
        choice: the setting that asks for it.
        data: of the run.
    """
    if data.val_set in data.eval_sets:
        raise ValueError(
            f"{choice}: these data have no validation split, and what is watched during training, "
            f"{data.val_set.name}, is a test set; add a set with role: val to the suite or, of image folders, hold "
            "images out with data.held_out.fraction"
        )


def check_monitors(callbacks: Mapping[str, Any], data: DataModule) -> None:
    """Raise ValueError for a callback, such as early stopping, that would choose by a test set."""
    for name, entry in callbacks.items():
        monitor = entry.get("monitor") if isinstance(entry, Mapping) else None
        if isinstance(monitor, str) and monitor.startswith(STAGE):
            check_validation(f"callbacks.{name}.monitor={monitor}", data)


def last_validation(trainer: pl.Trainer, module: Any, data: DataModule) -> dict[str, dict[str, float]]:
    """Data set name to metrics of the last validation of a fit, or of one now.

    There was none where the fit was too short for it, or continued a run that had ended; the one now is not logged, so
    that ``metrics.csv`` is the same however often a run was continued.
    """
    scores = logged_validation(trainer.callback_metrics)
    if not scores:
        loggers, trainer.loggers = trainer.loggers, []
        try:
            trainer.validate(module, datamodule=data, verbose=False)
        finally:
            trainer.loggers = loggers
        scores = logged_validation(trainer.callback_metrics)
    return scores


def logged_validation(logged: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Data set name to metrics, from ``val/<set>/<metric>``."""
    scores: dict[str, dict[str, float]] = {}
    for name, value in logged.items():
        if name.startswith(STAGE):
            data_set, _, metric = name.removeprefix(STAGE).rpartition("/")
            scores.setdefault(data_set, {})[metric] = float(value)
    return scores


def returned(results: dict[str, Any], metric: str | None) -> dict[str, Any] | float:
    """What a job returns: its results or, to a sweeper that searches, the figure that it searches by."""
    if metric is None:
        return results
    if not results["validation"]:
        raise ValueError(
            f"optimized_metric={metric}: there is no validation; see trainer.limit_val_batches, or its images"
        )
    (scores,) = results["validation"].values()
    figure: float = scores[metric]
    return figure
