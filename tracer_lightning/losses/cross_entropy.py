"""The loss of classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tracer_lightning.types import LossInputs

NO_CLASS = -1


class CrossEntropy(nn.Module):
    """CE of the head's logits and the labels (the task loss of FT, LP-FT, Lipsum-FT and CAR-FT).

    Mean over the samples that have a class (-1: none).

    Args:
        label_smoothing: share of the target spread over the classes, in [0, 1).
    """

    needs_teacher = False
    needs_texts = False
    needs_scale = False
    needs_head = True

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), found {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of logits (B, C) and labels (B,)."""
        if inputs.logits is None or inputs.labels is None:
            raise ValueError("cross_entropy needs a head and labels, and found none: choose a head (head=zero_shot)")
        counted = (inputs.labels != NO_CLASS).sum().clamp(min=1)
        total = F.cross_entropy(
            inputs.logits, inputs.labels, ignore_index=NO_CLASS, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total / counted
