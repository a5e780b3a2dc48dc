"""Schedule of the gradient clipping norm."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.functional.steps import planned_steps


class ClipSchedule(pl.Callback):
    """Clip gradients to c_t = c_0 + (c_T - c_0) (1 - cos(π t / (T - 1))) / 2 at optimizer step t of T, counted from 0.

    The released TRACER code uses it from 1e-4 to 1e-2 unless a script disables it, which FLYP's script does not.

    Args:
        first: norm at the first step, > 0.
        last: norm at the last step, > 0.
    """

    def __init__(self, first: float, last: float) -> None:
        for name, norm in (("first", first), ("last", last)):
            if not (math.isfinite(norm) and norm > 0):
                raise ValueError(f"{name} must be a finite number > 0, got {norm}")
        self.first, self.last = first, last
        self._end = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Read the number of steps; raise ValueError where the trainer has its own clipping norm."""
        if trainer.gradient_clip_val is not None:
            raise ValueError(
                f"the trainer's gradient_clip_val={trainer.gradient_clip_val:g} conflicts with ClipSchedule; set it to "
                "None, or remove the callback"
            )
        self._end = planned_steps(trainer) - 1

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Set the norm with which Lightning clips the gradients next."""
        progress = trainer.global_step / max(self._end, 1)
        trainer.gradient_clip_val = self.first + (self.last - self.first) * (1 - math.cos(math.pi * progress)) / 2

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Restore the trainer."""
        trainer.gradient_clip_val = None
