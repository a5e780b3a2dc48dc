"""Distillation of the similarities between images and anchor texts (CAR-FT, Lipsum-FT)."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.similarity import kl_divergence, similarity_logits
from tracer_lightning.losses.base import LossTerm, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


def _anchored_logits(inputs: LossInputs) -> tuple[Tensor, Tensor]:
    """Logits (B, A) of the teacher's and the student's images, each with its own scale."""
    if inputs.anchors is None:
        raise ValueError("the term compares images with anchor texts, and there are none")
    student, teacher = inputs.student, require_teacher(inputs)
    return (
        similarity_logits(teacher.image, inputs.anchors, teacher.logit_scale),
        similarity_logits(student.image, inputs.anchors, student.logit_scale),
    )


class AnchorDivergence(LossTerm):
    """KL(softmax(s_T I_T Aᵀ) ‖ softmax(s_S I_S Aᵀ)) over the anchors A, mean over B (CAR-FT; Mao et al., 2024).

    There the anchors are context prompts and the teacher is frozen.

    Args:
        reverse: KL of the student against the teacher instead.
    """

    features = ClipFeatures
    reads = frozenset({"image", "logit_scale"})
    needs_teacher = True
    needs_anchors = True

    def __init__(self, reverse: bool = False) -> None:
        super().__init__()
        self.reverse = reverse

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D) and anchors (A, D)."""
        teacher, student = _anchored_logits(inputs)
        return kl_divergence(student, teacher) if self.reverse else kl_divergence(teacher, student)


class AnchorMatching(LossTerm):
    """½ mean over B and the A anchors of (v_S - v_T)², v = s_T I Aᵀ (Lipsum-FT; Nam et al., 2024).

    There the anchors are random texts and the teacher is frozen.
    """

    features = ClipFeatures
    reads = frozenset({"image"})
    needs_teacher = True
    needs_anchors = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () of features (B, D) and anchors (A, D)."""
        scale = require_teacher(inputs).logit_scale
        teacher, student = _anchored_logits(inputs._replace(student=inputs.student._replace(logit_scale=scale)))
        return 0.5 * (student - teacher).square().mean()
