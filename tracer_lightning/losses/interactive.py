"""Interactive contrastive learning (ICL) between student and teacher."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.contrastive import (
    Positives,
    check_positives,
    contrastive_targets,
    symmetric_cross_entropy,
)
from tracer_lightning.functional.similarity import similarity_logits
from tracer_lightning.losses.base import LossTerm, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class InteractiveContrastiveLearning(LossTerm):
    """½ [CE(s I_S T_Tᵀ, Y) + CE(s T_S I_Tᵀ, Y)] with the student's scale (ICL; TRACER, eq. 24).

    Args:
        positives: as for :class:`tracer_lightning.losses.InfoNCE`.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})
    needs_teacher = True

    def __init__(self, positives: Positives = "diagonal") -> None:
        super().__init__()
        check_positives(positives)
        self.positives = positives
        if positives == "same_label":
            self.reads = self.reads | {"labels"}

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        return symmetric_cross_entropy(
            similarity_logits(student.image, teacher.text, student.logit_scale),
            similarity_logits(student.text, teacher.image, student.logit_scale),
            contrastive_targets(student.image, student.labels, self.positives),
        )
