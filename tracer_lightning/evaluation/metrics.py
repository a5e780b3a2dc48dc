"""Metrics of one model on one data set."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import MetricCollection, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError, MulticlassF1Score

IGNORED = -1
"""Label of padding."""
ECE_BINS = 10


class ClassificationMetrics(nn.Module):
    """Accuracy, expected calibration error and macro-F1 over a whole data set, exact over ranks.

    ECE has 10 equal bins and the L1 norm (Guo et al., 2017), over the data set rather than per batch.

    Args:
        num_classes: C.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro", ignore_index=IGNORED),
                "ece": MulticlassCalibrationError(num_classes, n_bins=ECE_BINS, norm="l1", ignore_index=IGNORED),
                "macro_f1": MulticlassF1Score(num_classes, average="macro", ignore_index=IGNORED),
            }
        )
        self.count = SumMetric()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in logits (B, C) and labels (B,), -1 for padding."""
        self.scores.update(logits.softmax(dim=-1), labels)
        self.count.update((labels != IGNORED).sum())

    def compute(self) -> dict[str, float]:
        """``n``, ``accuracy``, ``ece`` and ``macro_f1``, all but ``n`` in [0, 1]."""
        scores = {name: float(value) for name, value in self.scores.compute().items()}
        return {"n": int(self.count.compute()), **scores}

    def reset(self) -> None:
        """Forget everything."""
        self.scores.reset()
        self.count.reset()
