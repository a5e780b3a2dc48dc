"""Keeping features from collapsing to few dimensions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tracer_lightning.losses.base import Regularizer
from tracer_lightning.types import ClipFeatures, LossInputs

SMALLEST = 1e-4
"""Distance of equal features, whose gradient is 0."""
GAP = 1e-6
"""Least difference between a distance and the mean of the smaller ones: equal captions have none."""


def local_dimensionality(features: Tensor, neighbours: int) -> Tensor:
    """Local intrinsic dimensionality of each feature among the others, by the method of moments.

    LID_i = m / (a_{k+1} - m), where a_1 <= a_2 <= ... are the distances to the others and m is the mean of the first k,
    k at most B - 2. Distances are chords of the unit sphere. The others take no gradient: each feature is moved away
    from where its neighbours are, as in the released code.

    Args:
        features: (B, D), normalised, B >= 3.
        neighbours: k.

    Returns:
        (B,), > 0.
    """
    size = len(features)
    if size < 3:
        raise ValueError(f"LDReg needs at least 3 samples in a global batch, found {size}")
    k = min(neighbours, size - 2)
    others = ~torch.eye(size, dtype=torch.bool, device=features.device)
    cosines = (features @ features.detach().T)[others].reshape(size, size - 1)
    distances = (2 - 2 * cosines).clamp_min(SMALLEST**2).sqrt()
    nearest = distances.topk(k + 1, dim=1, largest=False).values  # (B, k + 1), ascending
    mean = nearest[:, :k].mean(dim=1)
    return mean / (nearest[:, k] - mean).clamp_min(GAP)


class LDReg(Regularizer):
    """-mean log LID of the student's features over the global batch (LDReg; Huang et al., 2024, "L1").

    Args:
        neighbours: k of :func:`local_dimensionality`.
        image: count the image features.
        text: count the text features.
    """

    features = ClipFeatures

    def __init__(self, neighbours: int, image: bool = True, text: bool = True) -> None:
        super().__init__()
        if neighbours < 1 or not (image or text):
            raise ValueError(f"LDReg needs neighbours >= 1, found {neighbours}, and image or text features")
        self.neighbours, self.image, self.text = neighbours, image, text
        self.reads = frozenset(name for name, counts in (("image", image), ("text", text)) if counts)

    def forward(self, student: Any, inputs: LossInputs) -> Tensor:
        """Loss () of features (B, D); the sum where both modalities count."""
        chosen = [(self.image, inputs.student.image), (self.text, inputs.student.text)]
        losses = [-local_dimensionality(x, self.neighbours).log().mean() for wanted, x in chosen if wanted]
        return torch.stack(losses).sum()
