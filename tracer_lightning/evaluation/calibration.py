"""The calibration of a whole data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from tracer_lightning.scores import ECE_BINS
from tracer_lightning.types import IGNORE_INDEX

UNDEFINED, PADDING = ECE_BINS + 1, ECE_BINS + 2
"""Places beyond the bins, for probabilities that are no numbers, and for what is not counted."""
UNIT = 2.0**32
"""Confidences are summed in whole multiples of 1 / UNIT."""


class CalibrationBins(Metric):
    """Confidence against correctness in equal bins, the same in any order of samples.

    torchmetrics keeps every confidence and adds them up in single precision, so that its last digits depend on the
    order, and with it on the number of processes. Sums of whole numbers do not, and need 36 numbers instead of two per
    sample. The bins are those of torchmetrics: [0, 0.1), ..., [0.9, 1), and one for confidences of exactly 1.

    Args:
        options: of every :class:`torchmetrics.Metric`.
    """

    full_state_update = False
    counts: Tensor
    correct: Tensor
    confidence: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in ("counts", "correct", "confidence"):
            self.add_state(name, torch.zeros(PADDING + 1, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Take in probabilities (B, C) and labels (B,), -1 for padding.

        ``torch.where`` with a number would wait for the device: it copies the number there.
        """
        probabilities = probabilities if probabilities.dtype == torch.float64 else probabilities.float()
        confidence, predicted = probabilities.max(dim=-1)
        edges = torch.linspace(0, 1, ECE_BINS + 1, device=confidence.device, dtype=confidence.dtype)
        bins = torch.bucketize(confidence, edges, right=True) - 1
        bins = bins.masked_fill(confidence.isnan(), UNDEFINED).masked_fill(labels == IGNORE_INDEX, PADDING)
        self.counts.scatter_add_(0, bins, torch.ones_like(bins))
        self.correct.scatter_add_(0, bins, (predicted == labels).long())
        self.confidence.scatter_add_(0, bins, (confidence.nan_to_num() * UNIT).round().long())

    def compute(self) -> Tensor:
        """(bins, 3) in double precision: samples, correct ones and summed confidence; NaN where a model's were."""
        counts, correct, confidence = (state.cpu().double() for state in (self.counts, self.correct, self.confidence))
        bins = torch.stack([counts, correct, confidence / UNIT])[:, :UNDEFINED]
        return torch.where(counts[UNDEFINED] > 0, torch.nan, bins).T


def expected_calibration_error(bins: Tensor) -> float:
    """Expected calibration error with the L1 norm (Guo et al., 2017), in [0, 1]; NaN where there are no samples.

    Args:
        bins: (bins, 3) as computed by :class:`CalibrationBins`.
    """
    counts, correct, confidence = bins.unbind(dim=-1)
    return float((correct - confidence).abs().sum() / counts.sum())
