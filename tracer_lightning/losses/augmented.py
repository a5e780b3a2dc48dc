"""Augmented feature distillation (AFD): contrast of fused features of student and teacher."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from tracer_lightning.functional.matching import MatchingName
from tracer_lightning.losses.base import require_teacher
from tracer_lightning.losses.matching import MatchingTerm
from tracer_lightning.types import LossInputs


class HasWidth(Protocol):
    """A model with a shared space of images and texts."""

    @property
    def text_projection(self) -> Tensor:
        """(width of the text tower, D)."""


class AugmentedFeatureDistillation(MatchingTerm):
    """InfoNCE of Linear([I_S; I_T]) and Linear([T_S; T_T]), with the student's scale (AFD).

    It is CLIP-KD's (Yang et al., 2024). As in the released TRACER code the fused features are not normalised, so that
    the projections, which are trained with the student and left behind afterwards, can lower the loss by their length
    alone; and nothing pulls the student towards the teacher unless that lowers the loss of the fused features.
    With the sigmoid, SigLIP's loss takes the place of InfoNCE.

    Args:
        student: gives the width D.
        matching: as for :class:`tracer_lightning.losses.matching.MatchingTerm`.
    """

    needs_teacher = True

    def __init__(self, student: HasWidth, matching: MatchingName = "softmax") -> None:
        super().__init__(matching)
        width = student.text_projection.shape[1]
        self.image_fusion, self.text_fusion = nn.Linear(2 * width, width), nn.Linear(2 * width, width)

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student, teacher = inputs.student, require_teacher(inputs)
        image = self.image_fusion(torch.cat([student.image, teacher.image], dim=1))  # (B, D)
        text = self.text_fusion(torch.cat([student.text, teacher.text], dim=1))
        logits = self.matching.logits
        return self.matching.contrast(logits(image, text, student), logits(text, image, student), None, "diagonal")
