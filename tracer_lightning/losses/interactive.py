"""Interactive contrastive learning (ICL) between student and teacher."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.contrastive import Positives, check_positives
from tracer_lightning.functional.matching import MatchingName
from tracer_lightning.losses.base import require_teacher
from tracer_lightning.losses.matching import MatchingTerm
from tracer_lightning.types import LossInputs


class InteractiveContrastiveLearning(MatchingTerm):
    """½ [CE(s I_S T_Tᵀ, Y) + CE(s T_S I_Tᵀ, Y)] with the student's scale (ICL; TRACER, eq. 24).

    With the sigmoid, CE is SigLIP's loss (:class:`tracer_lightning.losses.SigmoidLoss`) with the student's scale and
    bias.

    Args:
        positives: as for :class:`tracer_lightning.losses.InfoNCE`.
        matching: as for :class:`tracer_lightning.losses.matching.MatchingTerm`.
    """

    needs_teacher = True

    def __init__(self, positives: Positives = "diagonal", matching: MatchingName = "softmax") -> None:
        super().__init__(matching)
        check_positives(positives)
        self.positives = positives
        if positives == "same_label":
            self.reads = self.reads | {"labels"}

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        return self.matching.contrast(
            self.matching.logits(student.image, teacher.text, student),
            self.matching.logits(student.text, teacher.image, student),
            student.labels,
            self.positives,
        )
