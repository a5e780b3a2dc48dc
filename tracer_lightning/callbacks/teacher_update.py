"""Updates of the teacher along the student's trajectory."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl

from tracer_lightning.functional.steps import planned_steps
from tracer_lightning.functional.wording import counted


class TeacherUpdate(pl.Callback):
    """Update ``module.teacher`` from ``module.student`` after optimizer steps.

    Only steps in which the optimizer changed weights count. ``trainer.global_step`` also counts steps that a gradient
    scaler skips (fp16), and steps with dropped gradients or without a loss. The teacher's step count is therefore
    ``trainer.global_step`` minus the number of skipped steps, which is saved in the checkpoint; the other state of the
    trajectory is saved with the teacher.

    Args:
        every_n_steps: number N of optimizer steps between updates, which follow the steps N, 2N, ...
        total_steps: number T of optimizer steps of the run; None for the trainer's.
        from_first: whether to update after the steps 1, N + 1, 2N + 1, ... instead, as the released code does.
        at_last: whether to update after the last step, too.
    """

    def __init__(
        self, every_n_steps: int = 1, total_steps: int | None = None, from_first: bool = False, at_last: bool = False
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be >= 1, got {every_n_steps}")
        self.every_n_steps, self.from_first, self.at_last = every_n_steps, from_first, at_last
        self.total_steps = total_steps
        self.skipped = 0
        """Number of steps counted by the trainer that changed no weights."""
        self._last_step = self._total = 0
        self._changed = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start or resume the trajectory; this is the first hook after all state is restored."""
        if not pl_module.automatic_optimization:
            raise ValueError("TeacherUpdate needs automatic optimization, since it uses trainer.global_step")
        total = planned_steps(trainer) if self.total_steps is None else self.total_steps
        self._total = total
        if not any(self._is_due(step, step) for step in range(1, total + 1)):
            warnings.warn(
                f"every_n_steps={self.every_n_steps} of TeacherUpdate in a run of {counted(total, 'step')}: "
                "no teacher updates",
                stacklevel=2,
            )
        if trainer.global_step == 0:
            pl_module.teacher.begin(pl_module.student, total)
            self.skipped = 0
        else:
            pl_module.teacher.resume(total)
        self._last_step = trainer.global_step
        for optimizer in trainer.optimizers:
            optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Record a step; for skipped steps, a gradient scaler calls only fused optimizers, and sets ``found_inf``."""
        found_inf = getattr(optimizer, "found_inf", None)
        if found_inf is None or not bool(found_inf):
            self._changed |= any(p.grad is not None for group in optimizer.param_groups for p in group["params"])

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the teacher after an optimizer step where an update is due."""
        if trainer.global_step == self._last_step:  # gradients still accumulate
            return
        self.skipped += trainer.global_step - self._last_step - self._changed
        step = trainer.global_step - self.skipped
        if self._changed and self._is_due(step, trainer.global_step):
            pl_module.teacher.update(pl_module.student, step)
        self._last_step, self._changed = trainer.global_step, False

    def _is_due(self, step: int, with_skipped: int) -> bool:
        """Whether an update follows a step, given its number without and with skipped steps."""
        return (step - self.from_first) % self.every_n_steps == 0 or (self.at_last and with_skipped == self._total)

    def state_dict(self) -> dict[str, Any]:
        """Number of skipped steps."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.skipped = state_dict["skipped"]
