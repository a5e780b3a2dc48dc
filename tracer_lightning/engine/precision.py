"""The precision of evaluations, which is independent of the precision of training."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, get_args

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import DoublePrecision

EvaluationPrecision = Literal["fp32", "bf16"]


def set_evaluation_precision(trainer: pl.Trainer, precision: EvaluationPrecision) -> pl.Trainer:
    """Have the trainer validate, test and predict in this precision, whatever it trains in.

    So a model has the same scores at the end of a run and when it is evaluated by itself. A trainer in double precision
    also evaluates in double precision.

    Args:
        trainer: changed in place, and returned.
        precision: ``fp32``, or ``bf16`` for autocast to bfloat16, which is faster on a GPU.
    """
    if precision not in get_args(EvaluationPrecision):
        raise ValueError(f"precision must be one of {', '.join(get_args(EvaluationPrecision))}, got {precision!r}")
    plugin = trainer.precision_plugin
    if isinstance(plugin, DoublePrecision):
        return trainer

    def context() -> AbstractContextManager[None]:
        return torch.autocast(trainer.strategy.root_device.type, torch.bfloat16, enabled=precision == "bf16")

    plugin.val_step_context = plugin.test_step_context = plugin.predict_step_context = context  # type: ignore[assignment,method-assign]
    return trainer


def precision_name(trainer: pl.Trainer, precision: str) -> str:
    """Name of the precision that a trainer evaluates in, for results and tables."""
    return "fp64" if isinstance(trainer.precision_plugin, DoublePrecision) else precision
