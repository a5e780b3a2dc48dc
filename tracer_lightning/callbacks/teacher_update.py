"""The teacher's trajectory update."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.functional.steps import planned_steps


class TeacherUpdate(pl.Callback):
    """Update ``module.teacher`` from ``module.student`` after optimizer steps.

    A step counts where the optimizer has moved the weights. ``trainer.global_step`` counts others, too: those that a
    gradient scaler skips (fp16), and those whose gradients were dropped or that had no loss. So the clock is
    ``trainer.global_step`` less the steps that were skipped, which are kept with the checkpoint; all else of the clock
    is the teacher's, saved with it.

    Args:
        every_n_steps: optimizer steps N between updates, which come after the steps N, 2N, ...
        from_first: update after the steps 1, N + 1, 2N + 1, ... instead, as the released code does.
        at_last: update after the last step as well.
        total_steps: optimizer steps T of the run; None asks the trainer.
    """

    def __init__(
        self, every_n_steps: int = 1, total_steps: int | None = None, from_first: bool = False, at_last: bool = False
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be a whole number >= 1, found {every_n_steps}")
        self.every_n_steps, self.from_first, self.at_last = every_n_steps, from_first, at_last
        self.total_steps = total_steps
        self.skipped = 0
        """Steps that the trainer has counted and that moved nothing."""
        self._seen = self._total = 0
        self._moved = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin, or continue a restored run: this hook is the first after everything was restored."""
        if not pl_module.automatic_optimization:
            raise ValueError("TeacherUpdate follows trainer.global_step and needs automatic optimization")
        total = planned_steps(trainer) if self.total_steps is None else self.total_steps
        self._total = total
        if not any(map(self._is_due, range(1, total + 1))):
            warnings.warn(
                f"teacher.every_n_steps={self.every_n_steps} in a run of {total} steps: the teacher never moves",
                stacklevel=2,
            )
        if trainer.global_step == 0:
            pl_module.teacher.begin(pl_module.student, total)
            self.skipped = 0
        else:
            pl_module.teacher.resume(total)
        self._seen = trainer.global_step
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """A gradient scaler calls no optimizer that it has skip a step, but a fused one, to which it tells it."""
        found = getattr(optimizer, "found_inf", None)
        if found is None or not bool(found):
            self._moved |= any(p.grad is not None for group in optimizer.param_groups for p in group["params"])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update where this batch completed an optimizer step after which an update is due."""
        if trainer.global_step == self._seen:
            return
        self.skipped += trainer.global_step - self._seen - self._moved
        step = trainer.global_step - self.skipped
        if self._moved and self._is_due(step):
            pl_module.teacher.update(pl_module.student, step)
        self._seen, self._moved = trainer.global_step, False

    def _is_due(self, step: int) -> bool:
        return (step - self.from_first) % self.every_n_steps == 0 or (self.at_last and step == self._total)

    def state_dict(self) -> dict[str, Any]:
        """How many steps were skipped."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]
