"""Self-distillation of CaRot."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tracer_lightning.functional.similarity import similarity_logits
from tracer_lightning.losses.base import require_teacher
from tracer_lightning.types import TermInputs


class SoftCrossEntropy(nn.Module):
    """mean_B [H(p_T, p_S) + H(q_T, q_S)], the cross-entropy against the teacher's distributions (CaRot, Oh et al.).

    The sum of both directions, not their mean, as in the released code. It differs from
    :class:`tracer_lightning.losses.ContrastiveRelationalDistillation` by the teacher's entropies only, which have no
    gradient.
    """

    needs_teacher = True

    def forward(self, inputs: TermInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        image_to_text = F.cross_entropy(
            similarity_logits(student.image, student.text, student.logit_scale),
            similarity_logits(teacher.image, teacher.text, teacher.logit_scale).softmax(dim=-1),
        )
        text_to_image = F.cross_entropy(
            similarity_logits(student.text, student.image, student.logit_scale),
            similarity_logits(teacher.text, teacher.image, teacher.logit_scale).softmax(dim=-1),
        )
        return image_to_text + text_to_image
