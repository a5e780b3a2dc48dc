"""Cross-modal knowledge distillation (cross-KD)."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.similarity import kl_divergence, similarity_logits
from tracer_lightning.losses.base import LossTerm, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class CrossKnowledgeDistillation(LossTerm):
    """½ mean_B [KL(p_T ‖ softmax(s_S I_S T_Tᵀ)) + KL(q_T ‖ softmax(s_S T_S I_Tᵀ))] (Cross-KD; TRACER, eq. 27)."""

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})
    needs_teacher = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        image_to_text = kl_divergence(
            similarity_logits(teacher.image, teacher.text, teacher.logit_scale),
            similarity_logits(student.image, teacher.text, student.logit_scale),
        )
        text_to_image = kl_divergence(
            similarity_logits(teacher.text, teacher.image, teacher.logit_scale),
            similarity_logits(student.text, teacher.image, student.logit_scale),
        )
        return 0.5 * (image_to_text + text_to_image)
