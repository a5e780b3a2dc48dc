"""Metrics of one model on one data set."""

from __future__ import annotations

from torch import Tensor, nn
from torchmetrics import MeanMetric, MetricCollection, SumMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores
from torchmetrics.functional.classification import multiclass_calibration_error

from tracer_lightning.evaluation.calibration import ECE_BINS, IGNORED, CalibrationError


class PresentClassesF1(MulticlassStatScores):
    """Mean F1 of the classes that have samples; 0 where there are none."""

    def compute(self) -> Tensor:
        """() score in [0, 1]."""
        true, wrong, _, missed, support = super().compute().unbind(dim=-1)
        present = support > 0
        scores = 2 * true[present].double() / (2 * true + wrong + missed)[present]
        return scores.sum() / max(1, len(scores))


class ClassificationMetrics(nn.Module):
    """Accuracy, expected calibration error and macro-F1 over a whole data set, exact over ranks.

    Macro-F1 is the mean over the classes that the data set has samples of, as WILDS takes it: a class that is only ever
    predicted by mistake lowers the F1 of those mistaken for it, and is no class of the set.

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
                "macro_f1": PresentClassesF1(num_classes, average=None, ignore_index=IGNORED),
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
