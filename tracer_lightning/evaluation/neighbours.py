"""Accuracy over frames of videos and their neighbours (Shankar et al., 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from tracer_lightning.evaluation.logits import padded
from tracer_lightning.types import IGNORE_INDEX, Neighbours


class NeighbourAccuracy(Metric):
    """The share of anchors that are predicted rightly themselves and in all their neighbours, exact over ranks.

    A frame may have several labels, of which any is right. Frames that can't be read are left out.

    Args:
        neighbours: N frames and A anchors.
        options: of every :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    accepted: Tensor
    groups: Tensor
    read: Tensor
    right: Tensor

    def __init__(self, neighbours: Neighbours, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("accepted", padded(neighbours.labels), persistent=False)  # (N, K)
        self.register_buffer("groups", padded(neighbours.groups), persistent=False)  # (A, G), anchors first
        for name in ("read", "right"):  # the last place is that of padding
            self.add_state(name, torch.zeros(len(neighbours.labels) + 1, dtype=torch.long), dist_reduce_fx="sum")

    def best_labels(self, logits: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """(B,) of each frame's labels that of the highest logit, so that metrics of one label count any as right.

        Args:
            logits: (B, C).
            labels: (B,); what is -1 stays -1.
            indices: (B,) places of the frames; -1 marks padding.
        """
        accepted = self.accepted[indices]  # (B, K); of padding, any
        best = accepted.gather(1, logits.gather(1, accepted).argmax(dim=1, keepdim=True))[:, 0]
        return torch.where(labels == IGNORE_INDEX, labels, best)

    def update(self, logits: Tensor, indices: Tensor) -> None:
        """Take in logits (B, C) of frames at these places (B,), -1 for padding."""
        right = (self.accepted[indices] == logits.argmax(dim=1, keepdim=True)).any(dim=1)
        right &= ~logits.isnan().any(dim=1)  # which predict no class
        self.read.index_add_(0, indices % len(self.read), torch.ones_like(indices))
        self.right.index_add_(0, indices % len(self.read), right.long())

    def compute(self) -> float | None:
        """Over the anchors that were read, in [0, 1]; None where there is none."""
        held = (self.right > 0) | (self.read == 0)
        anchors = self.read[self.groups[:, 0]] > 0
        complete = held[self.groups].all(dim=1) & anchors
        return float(complete.sum() / anchors.sum()) if anchors.any() else None
