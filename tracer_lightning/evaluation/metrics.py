"""Metrics of one model on one data set."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.functional.classification import multiclass_calibration_error

from tracer_lightning.evaluation.calibration import ECE_BINS, IGNORED, CalibrationError


class ClassificationMetrics(nn.Module):
    """Accuracy, expected calibration error and macro-F1 over a whole data set, exact over ranks.

    ECE has 10 equal bins and the L1 norm (Guo et al., 2017), over the data set rather than per batch.

    Args:
        num_classes: C.
        ece_per_batch: also report the size-weighted mean of each batch's ECE, as the official code does; it depends on
            the size and order of batches, and serves comparison only.
    """

    def __init__(self, num_classes: int, ece_per_batch: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.batch_ece = MeanMetric() if ece_per_batch else None
        self.scores = MetricCollection(
            {
                "accuracy": MulticlassAccuracy(num_classes, average="micro", ignore_index=IGNORED),
                "ece": CalibrationError(),
                "macro_f1": MulticlassF1Score(num_classes, average="macro", ignore_index=IGNORED),
            }
        )
        self.count = SumMetric()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in logits (B, C) and labels (B,), -1 for padding."""
        probabilities, counted = logits.softmax(dim=-1), (labels != IGNORED).sum()
        self.scores.update(probabilities, labels)
        self.count.update(counted)
        if self.batch_ece is not None:
            ece = multiclass_calibration_error(
                probabilities, labels, self.num_classes, n_bins=ECE_BINS, norm="l1", ignore_index=IGNORED
            )
            self.batch_ece.update(ece.nan_to_num(), counted)  # a batch of padding alone counts nothing

    def compute(self) -> dict[str, float]:
        """``n``, ``accuracy``, ``ece`` and ``macro_f1``, all but ``n`` in [0, 1]."""
        scores = {name: float(value) for name, value in self.scores.compute().items()}
        if self.batch_ece is not None:
            scores["ece_per_batch"] = float(self.batch_ece.compute())
        return {"n": int(self.count.compute()), **scores}

    def reset(self) -> None:
        """Forget everything."""
        self.scores.reset()
        self.count.reset()
        if self.batch_ece is not None:
            self.batch_ece.reset()
