"""Pretrained model as teacher."""

from __future__ import annotations

from tracer_lightning.teachers.averaged import AveragedTeacher


class FrozenTeacher(AveragedTeacher):
    """Teacher that stays theta_0, for static self-distillation."""

    def next_weight(self, step: int, total_steps: int) -> float:
        """Zero."""
        return 0.0
