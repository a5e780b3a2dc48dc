"""Feature distillation (FD)."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.losses.base import LossTerm, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class FeatureDistillation(LossTerm):
    """mean_B (‖I_T - I_S‖² + ‖T_T - T_S‖²), summed over D (TRACER, eq. 20).

    Args:
        mean_over_features: average over D as the official code does, which makes its weight D times as large.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text"})
    needs_teacher = True

    def __init__(self, mean_over_features: bool = False) -> None:
        super().__init__()
        self.mean_over_features = mean_over_features

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        squares: Tensor = (teacher.image - student.image).square() + (teacher.text - student.text).square()  # (B, D)
        return squares.mean() if self.mean_over_features else squares.sum(dim=1).mean()
