"""The loss of classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.losses.base import LossTerm
from tracer_lightning.types import IGNORE_INDEX, ClipFeatures, LossInputs


class CrossEntropy(LossTerm):
    """CE of the head's logits and the labels (the task loss of FT, LP-FT, Lipsum-FT and CAR-FT).

    Mean over the samples that have a class (-1: none).

    Args:
        label_smoothing: share of the target spread over the classes, in [0, 1).
    """

    features = ClipFeatures
    reads = frozenset({"logits", "labels"})

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), found {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of logits (B, C) and labels (B,)."""
        logits, labels = inputs.student.logits, inputs.student.labels
        if logits is None or labels is None:
            raise ValueError("cross-entropy needs logits of a head, and labels; the model gave none")
        counted = (labels != IGNORE_INDEX).sum().clamp(min=1)
        total: Tensor = F.cross_entropy(
            logits, labels, ignore_index=IGNORE_INDEX, label_smoothing=self.label_smoothing, reduction="sum"
        )
        loss: Tensor = total / counted
        return loss
