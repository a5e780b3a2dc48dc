"""Right and wrong predictions of a whole data set."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from tracer_lightning.types import IGNORE_INDEX


class Counts(NamedTuple):
    """Samples, on the processor."""

    by_class: Tensor
    """(3, C) of each class, taken for it, and both: one tensor, as torchmetrics makes scalars of those of one class."""
    top: int
    """Whose class was among the few most probable."""


class ClassCounts(Metric):
    """Counts per class, without ever waiting for the device while batches come in.

    torchmetrics' scores check the labels and leave padding out by their values, which the host has to know: it waits
    several times for each batch and model.

    Args:
        num_classes: C.
        top: how many of the most probable classes count as a hit, at most C.
        options: of every :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    support: Tensor
    predicted: Tensor
    right: Tensor
    hits: Tensor

    def __init__(self, num_classes: int, top: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_classes, self.top = num_classes, min(top, num_classes)
        for name in ("support", "predicted", "right"):  # the last place is that of padding
            self.add_state(name, torch.zeros(num_classes + 1, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("hits", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Take in probabilities (B, C) and labels (B,), -1 for padding."""
        padding = labels == IGNORE_INDEX
        labels = labels.masked_fill(padding, self.num_classes)
        nowhere = padding | probabilities.isnan().any(dim=-1)  # NaN predicts no class, not the first ones
        predicted = probabilities.argmax(dim=-1).masked_fill(nowhere, self.num_classes)
        most_probable = probabilities.topk(self.top, dim=-1).indices  # (B, K)
        ones = torch.ones_like(labels)
        self.support.scatter_add_(0, labels, ones)
        self.predicted.scatter_add_(0, predicted, ones)
        self.right.scatter_add_(0, labels, (predicted == labels).long())
        self.hits += ((most_probable == labels[:, None]) & ~nowhere[:, None]).sum()

    def compute(self) -> Counts:
        """Counts over all samples without padding."""
        by_class = torch.stack([self.support, self.predicted, self.right])[:, :-1]
        return Counts(by_class.cpu(), int(self.hits))
