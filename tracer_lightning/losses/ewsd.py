"""EWSD: weighted L2 distance of the image projection from its start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracer_lightning.losses.base import Regularizer
from tracer_lightning.losses.model_terms import HasProjections
from tracer_lightning.types import ClipFeatures, LossInputs


class EWSD(Regularizer):
    """½ mean[((I V) omega (W - W_0)ᵀ)²], eigenvalue-weighted self-distillation of the released code of TRACER.

    I (B, D) are the student's image features, U S Vᵀ = svd(I) without gradient, omega = (S + 1e-8)^(-exponent / 2)
    divided by its mean, W (width, D) the image projection and W_0 what it was before training.

    This is the source's formula, with its flaw: I is what the projection puts out, and is multiplied with (W - W_0)ᵀ
    as if it were an input, in the basis V in which W is not written. It is no distance between the outputs of W and
    W_0. It vanishes where the projection is not trained.

    Args:
        student: the model to train, as it is before training.
        exponent: of the singular values; 0 weighs all directions alike.
    """

    features = ClipFeatures
    reads = frozenset({"image"})

    start: Tensor

    def __init__(self, student: HasProjections, exponent: float) -> None:
        super().__init__()
        if not 0 <= exponent < float("inf"):
            raise ValueError(f"exponent must be a finite number >= 0, found {exponent}")
        self.exponent = exponent
        self.register_buffer("start", student.image_projection.detach().clone(), persistent=False)

    def forward(self, student: Any, inputs: LossInputs) -> Tensor:
        """Loss () of image features (B, D), B >= D."""
        image = inputs.student.image
        if len(image) < image.shape[1]:
            raise ValueError(
                f"EWSD needs a global batch of at least D = {image.shape[1]} samples, found {len(image)}; raise "
                "batch_size"
            )
        with torch.no_grad():
            _, singular, basis = torch.linalg.svd(image.detach(), full_matrices=False)  # (D,), (D, D) = Vᵀ
            weights = (singular + 1e-8) ** (-self.exponent / 2)
            weights = weights / weights.mean()
        change = student.image_projection - self.start  # (width, D)
        moved: Tensor = (image @ basis.T * weights) @ change.T.to(image.dtype)  # (B, width)
        return 0.5 * moved.square().mean()
