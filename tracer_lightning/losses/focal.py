"""The focal loss of classification."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.losses.base import LossTerm
from tracer_lightning.losses.binary_cross_entropy import check_gamma
from tracer_lightning.types import IGNORE_INDEX, ClipFeatures, LossInputs


class FocalLoss(LossTerm):
    """(1 - p)^gamma times the cross-entropy, where p is the probability of the label (Lin et al., 2017).

    Mean over the samples that have a class (-1: none).

    Args:
        gamma: focusing exponent >= 0; 0 for plain cross-entropy.
    """

    features = ClipFeatures
    reads = frozenset({"logits", "labels"})

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        check_gamma(gamma)
        self.gamma = gamma

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of logits (B, C) and labels (B,)."""
        logits, labels = inputs.student.logits, inputs.student.labels
        if logits is None or labels is None:
            raise ValueError("the focal loss needs logits of a head, and labels; the model gave none")
        losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")  # (B,)
        counted = (labels != IGNORE_INDEX).sum().clamp(min=1)
        loss: Tensor = (-torch.expm1(-losses)).clamp(min=1e-12) ** self.gamma @ losses / counted
        return loss
