"""Orthogonality of the image projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracer_lightning.regularizers.base import HasProjections
from tracer_lightning.types import TermInputs


class Orthogonality(nn.Module):
    """‖W_vᵀ W_v - I‖_F of the image projection W_v (width_v, D) (CaRot; weight 0.2 there).

    The Gram matrix is D x D for every tower. The official code takes the width x width one for ResNets, whose rank is
    at most D < width, so that it can never be the identity.
    """

    needs_texts = False

    def forward(self, student: HasProjections, inputs: TermInputs) -> Tensor:
        """Norm ()."""
        projection = student.image_projection
        gram = projection.T @ projection  # (D, D)
        norm: Tensor = torch.linalg.matrix_norm(gram - torch.eye(gram.shape[0], dtype=gram.dtype, device=gram.device))
        return norm
