"""The teacher's trajectory update."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.functional.steps import planned_steps


class TeacherUpdate(pl.Callback):
    """Update ``module.teacher`` from ``module.student`` after optimizer steps.

    It follows ``trainer.global_step``, so that accumulated batches and skipped steps do not count. The callback keeps
    no state of its own: the clock is the teacher's, saved with it.

    Args:
        every_n_steps: optimizer steps between updates.
        total_steps: optimizer steps T of the run; None asks the trainer.
    """

    def __init__(self, every_n_steps: int = 1, total_steps: int | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be a whole number >= 1, found {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.total_steps = total_steps
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin, or continue a restored run: this hook is the first after everything was restored."""
        if not pl_module.automatic_optimization:
            raise ValueError("TeacherUpdate follows trainer.global_step and needs automatic optimization")
        total = planned_steps(trainer) if self.total_steps is None else self.total_steps
        if self.every_n_steps > total:
            warnings.warn(
                f"teacher.every_n_steps={self.every_n_steps} in a run of {total} steps: the teacher never moves",
                stacklevel=2,
            )
        if trainer.global_step == 0:
            pl_module.teacher.begin(pl_module.student, total)
        else:
            pl_module.teacher.resume(total)
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update where this batch completed an optimizer step, and the step is a multiple of ``every_n_steps``."""
        step = trainer.global_step
        if step != self._seen and step % self.every_n_steps == 0:
            pl_module.teacher.update(pl_module.student, step)
        self._seen = step
