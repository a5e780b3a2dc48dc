"""Cross-modal knowledge distillation (cross-KD)."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.losses.base import require_teacher
from tracer_lightning.losses.matching import MatchingTerm
from tracer_lightning.types import LossInputs


class CrossKnowledgeDistillation(MatchingTerm):
    """½ mean_B [KL(p_T ‖ softmax(s_S I_S T_Tᵀ)) + KL(q_T ‖ softmax(s_S T_S I_Tᵀ))] (Cross-KD; TRACER, eq. 27).

    With the sigmoid, KL is that of each pair's probability, summed over the pairs of an image or text.
    """

    needs_teacher = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        logits, divergence = self.matching.logits, self.matching.divergence
        image_to_text = divergence(
            logits(teacher.image, teacher.text, teacher), logits(student.image, teacher.text, student)
        )
        text_to_image = divergence(
            logits(teacher.text, teacher.image, teacher), logits(student.text, teacher.image, student)
        )
        return 0.5 * (image_to_text + text_to_image)
