"""The precision of evaluations, which is independent of the precision of training, and where bf16 is slow."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, get_args

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins import DoublePrecision

EvaluationPrecision = Literal["fp32", "bf16"]
BF16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "avx_ne_convert")
"""Instructions of x86 CPUs for bf16, as named by ``torch.cpu.get_capabilities``."""


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


def slow_bf16_warning(device: torch.device, precisions: Mapping[str, str]) -> str | None:
    """Say that bf16 is slower than fp32 on a CPU without instructions for it; None where it is not used or not slow.

    Args:
        device: device of the model.
        precisions: precision by setting, such as ``bf16-mixed``, ``bf16`` or ``same``.
    """
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.11
        return None
    capabilities = torch.cpu.get_capabilities()
    is_fast = any(capabilities.get(name) for name in BF16_INSTRUCTIONS)
    settings = [f"{name}={value}" for name, value in precisions.items() if value.startswith("bf16")]
    if capabilities.get("architecture") != "x86_64" or is_fast or not settings:
        return None
    return (
        f"{', '.join(settings)}: this CPU has no instructions for bf16, which takes several times as long as fp32 on it"
    )
