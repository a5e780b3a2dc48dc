"""Cross-entropy of labels that may hold together."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.losses.values import ValueTerm, mean_of_known


class BinaryCrossEntropy(ValueTerm):
    """Binary cross-entropy of sigmoids, mean over all known labels of the batch.

    Args:
        positive_weight: factor of the loss of labels that hold, > 0.
        gamma: focusing exponent >= 0 of the focal loss, (1 - p)^gamma times the cross-entropy, where p is the
            probability of what is true (Lin et al., 2017); 0 for plain cross-entropy.
    """

    def __init__(self, positive_weight: float = 1.0, gamma: float = 0.0) -> None:
        super().__init__()
        if not (math.isfinite(positive_weight) and positive_weight > 0):
            raise ValueError(f"positive_weight must be a finite number > 0, found {positive_weight}")
        check_gamma(gamma)
        self.positive_weight, self.gamma = positive_weight, gamma

    def compare(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Loss () in nats of logits (B, ...) and labels (B, ...), 0 or 1."""
        losses = F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
        if self.gamma:
            wrong = torch.sigmoid(torch.where(targets > 0, -outputs, outputs))  # 1 - p
            losses = wrong**self.gamma * losses
        weights = 1 + (self.positive_weight - 1) * targets
        return mean_of_known(weights * losses, known)


def check_gamma(gamma: float) -> None:
    """Raise ValueError unless the exponent of a focal loss is a finite number >= 0."""
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"gamma must be a finite number >= 0, found {gamma}")
