"""Contrastive relational distillation (CRD)."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.similarity import kl_divergence, similarity_logits
from tracer_lightning.losses.base import LossTerm, check_temperature, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class ContrastiveRelationalDistillation(LossTerm):
    """mean_B [KL(p_T ‖ p_S) + KL(q_T ‖ q_S)] (CRD; TRACER, eq. 23), each model with its own scale.

    p is the softmax of an image's similarities to all texts, q that of a text's to all images; T is the teacher
    and S the student.

    Args:
        halved: take the mean of both directions instead of their sum, as the official code does.
        temperature: divides the teacher's logits alone, as in the official code's temperature distillation; the loss
            is not multiplied by the temperature squared.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})
    needs_teacher = True

    def __init__(self, halved: bool = False, temperature: float = 1.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.halved, self.temperature = halved, temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        scale = teacher.logit_scale / self.temperature
        image_to_text = kl_divergence(
            similarity_logits(teacher.image, teacher.text, scale),
            similarity_logits(student.image, student.text, student.logit_scale),
        )
        text_to_image = kl_divergence(
            similarity_logits(teacher.text, teacher.image, scale),
            similarity_logits(student.text, student.image, student.logit_scale),
        )
        total = image_to_text + text_to_image
        return 0.5 * total if self.halved else total
