"""The norm to which gradients are clipped, raised along the run."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.functional.steps import planned_steps


class ClipSchedule(pl.Callback):
    """Clip gradients to c_t = c_0 + (c_T - c_0) (1 - cos(π t / (T - 1))) / 2 at optimizer step t of T, counted from 0.

    The released TRACER code has it from 1e-4 to 1e-2 wherever a script does not switch it off: FLYP's does not.

    Args:
        first: norm at the first step, > 0.
        last: norm at the last step, > 0.
    """

    def __init__(self, first: float, last: float) -> None:
        for name, norm in (("first", first), ("last", last)):
            if not (math.isfinite(norm) and norm > 0):
                raise ValueError(f"{name} must be a finite number > 0, found {norm}")
        self.first, self.last = first, last
        self._end = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Learn the number of steps, and refuse a second norm."""
        if trainer.gradient_clip_val is not None:
            raise ValueError(
                f"trainer.gradient_clip_val={trainer.gradient_clip_val:g} and callbacks.clip_schedule; set one to null"
            )
        self._end = planned_steps(trainer) - 1

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Set the norm, to which Lightning clips next."""
        progress = trainer.global_step / max(self._end, 1)
        trainer.gradient_clip_val = self.first + (self.last - self.first) * (1 - math.cos(math.pi * progress)) / 2

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Leave the trainer as it was."""
        trainer.gradient_clip_val = None
