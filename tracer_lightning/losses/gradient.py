"""Gradient distillation (GD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.losses.base import require_teacher
from tracer_lightning.losses.matching import MatchingTerm
from tracer_lightning.types import ClipFeatures, LossInputs


class GradientDistillation(MatchingTerm):
    """mean_BD [(∂L_S/∂I_S - ∂L_T/∂I_T)² + (∂L_S/∂T_S - ∂L_T/∂T_T)²] (GD of CLIP-KD, Yang et al., 2024).

    L is InfoNCE or, with the sigmoid, SigLIP's loss, in which an image's own caption is its only positive. The
    gradients are written out, so that the student's can be differentiated. The released TRACER code, whose
    normalisation this has, takes both with autograd, the teacher's where nothing is recorded: it raises an error.
    """

    needs_teacher = True

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () of features (B, D)."""
        pairs = zip(self._gradients(inputs.student), self._gradients(require_teacher(inputs)), strict=True)
        total: Tensor = sum((F.mse_loss(student, teacher) for student, teacher in pairs), start=torch.zeros(()))
        return total

    def _gradients(self, features: ClipFeatures) -> tuple[Tensor, Tensor]:
        """(B, D) gradients of L with respect to image and text features."""
        image, text, scale = features.image, features.text, features.logit_scale
        logits = self.matching.logits(image, text, features)
        surplus = self.matching.both_ways(logits) - 2 * torch.eye(len(logits)).to(logits)  # (B, B)
        factor = scale / (2 * len(logits))
        return factor * surplus @ text, factor * surplus.T @ image
