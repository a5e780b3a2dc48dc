"""Distillation of similarities."""

from __future__ import annotations

from torch import Tensor, nn

from tracer_lightning.functional.similarity import kl_divergence, similarity_logits
from tracer_lightning.losses.base import require_teacher
from tracer_lightning.types import TermInputs


class ContrastiveRelationalDistillation(nn.Module):
    """mean_B [KL(p_T ‖ p_S) + KL(q_T ‖ q_S)] (CRD; TRACER, eq. 23), each side with its own scale.

    Args:
        halved: take the mean of both directions instead of their sum, as the official code does.
    """

    needs_teacher = True

    def __init__(self, halved: bool = False) -> None:
        super().__init__()
        self.halved = halved

    def forward(self, inputs: TermInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        image_to_text = kl_divergence(
            similarity_logits(teacher.image, teacher.text, teacher.logit_scale),
            similarity_logits(student.image, student.text, student.logit_scale),
        )
        text_to_image = kl_divergence(
            similarity_logits(teacher.text, teacher.image, teacher.logit_scale),
            similarity_logits(student.text, student.image, student.logit_scale),
        )
        total = image_to_text + text_to_image
        return 0.5 * total if self.halved else total
