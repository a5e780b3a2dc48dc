"""Orthogonality of the image projection."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracer_lightning.losses.base import Regularizer
from tracer_lightning.types import ClipFeatures, LossInputs


class Orthogonality(Regularizer):
    """‖W_vᵀ W_v - I‖_F of the image projection W_v (width_v, D) (CaRot; weight 0.2 there).

    The Gram matrix is D x D for every tower.

    Args:
        resnets_by_width: for ResNets take W_v W_vᵀ (width_v, width_v), as the released code does; its rank is at most
            D < width_v, so that it can never be the identity.
    """

    features = ClipFeatures
    needs_projections = True

    def __init__(self, resnets_by_width: bool = False) -> None:
        super().__init__()
        self.resnets_by_width = resnets_by_width

    def forward(self, student: Any, inputs: LossInputs) -> Tensor:
        """Norm ()."""
        projection = student.image_projection
        by_width = self.resnets_by_width and student.is_resnet
        gram = projection @ projection.T if by_width else projection.T @ projection
        norm: Tensor = torch.linalg.matrix_norm(gram - torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device))
        return norm
