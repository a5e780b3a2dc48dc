"""The pretrained model itself."""

from __future__ import annotations

from tracer_lightning.teachers.base import AveragedTeacher


class FrozenTeacher(AveragedTeacher):
    """theta_0 for ever: the teacher of static self-distillation."""

    def _next_weight(self, step: int, total_steps: int) -> float:
        return 0.0
