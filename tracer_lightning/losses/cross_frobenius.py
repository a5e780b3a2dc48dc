"""Cross-Frobenius regularizer: norm of the product of both towers' projections."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracer_lightning.losses.base import Regularizer
from tracer_lightning.types import ClipFeatures, LossInputs


class CrossFrobenius(Regularizer):
    """‖W_v W_tᵀ‖_F, unsquared (TRACER, Section 4; weight 0.05 in the ViT-B/16 run).

    W_v (width_v, D) and W_t (width_t, D) project the towers to the shared space.

    Args:
        squared: take the square, as the paper's Appendix C.1 does and no released run.
    """

    features = ClipFeatures
    needs_projections = True

    def __init__(self, squared: bool = False) -> None:
        super().__init__()
        self.squared = squared

    def forward(self, student: Any, inputs: LossInputs) -> Tensor:
        """Norm ()."""
        norm: Tensor = torch.linalg.matrix_norm(student.image_projection @ student.text_projection.T)
        return norm.square() if self.squared else norm
