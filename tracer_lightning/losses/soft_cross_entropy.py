"""Self-distillation of CaRot."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.functional.similarity import similarity_logits
from tracer_lightning.losses.base import LossTerm, check_temperature, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class SoftCrossEntropy(LossTerm):
    """mean_B [H(p_T, p_S) + H(q_T, q_S)], the cross-entropy against the teacher's distributions (CaRot, Oh et al.).

    The sum of both directions, not their mean, as in the released code. It differs from
    :class:`tracer_lightning.losses.ContrastiveRelationalDistillation` by the teacher's entropies only, which have no
    gradient.

    Args:
        temperature: divides the teacher's logits alone, as in the released TRACER code's plain self-distillation.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})
    needs_teacher = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        scale = teacher.logit_scale / self.temperature
        image_to_text = F.cross_entropy(
            similarity_logits(student.image, student.text, student.logit_scale),
            similarity_logits(teacher.image, teacher.text, scale).softmax(dim=-1),
        )
        text_to_image = F.cross_entropy(
            similarity_logits(student.text, student.image, student.logit_scale),
            similarity_logits(teacher.text, teacher.image, scale).softmax(dim=-1),
        )
        return image_to_text + text_to_image
