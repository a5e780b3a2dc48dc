"""Metrics of one model on one data set."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.functional.classification import multiclass_calibration_error

from tracer_lightning.evaluation.calibration import CalibrationBins, expected_calibration_error
from tracer_lightning.evaluation.counts import ClassCounts
from tracer_lightning.scores import ECE_BINS
from tracer_lightning.types import IGNORE_INDEX

TOP = 5
Details = dict[str, dict[str, list[Any]]]
"""``classes`` to ``n`` and ``correct`` of each class, ``bins`` to ``n``, ``correct`` and summed ``confidence`` of each
bin of confidence, equal ones from 0 to 1 and a last one for exactly 1."""


class ClassificationMetrics(nn.Module):
    """Accuracy, expected calibration error and macro-F1 over a whole data set, exact over ranks.

    Macro-F1 is the mean over the classes that the data set has samples of, as WILDS takes it: a class without samples
    does not enter the mean, and predictions of it only lower the recall of the true classes.

    ECE has 10 equal bins and the L1 norm (Guo et al., 2017), over the data set rather than per batch.

    A metric is computed here and described in :data:`tracer_lightning.evaluation.classification.CLASSIFICATION`.

    Args:
        num_classes: C.
        ece_per_batch: also report the size-weighted mean of each batch's ECE, as the official code does; it depends on
            the size and order of batches, and serves comparison only.
    """

    def __init__(self, num_classes: int, ece_per_batch: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.counts = ClassCounts(num_classes, TOP)
        self.bins = CalibrationBins()
        self.batch_ece = MeanMetric() if ece_per_batch else None

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in logits (B, C) and labels (B,), -1 for padding."""
        probabilities = logits.softmax(dim=-1)
        self.counts.update(probabilities, labels)
        self.bins.update(probabilities, labels)
        if self.batch_ece is not None:
            ece = multiclass_calibration_error(
                probabilities,
                labels,
                self.num_classes,
                n_bins=ECE_BINS,
                norm="l1",
                ignore_index=IGNORE_INDEX,
                validate_args=False,  # which refuses a set of one class
            )
            counted = (labels != IGNORE_INDEX).sum()
            self.batch_ece.update(ece.nan_to_num(), counted)  # a batch of padding alone counts nothing

    def compute(self) -> tuple[dict[str, Any], Details]:
        """Scores, and the counts behind them.

        Scores are ``n``, ``accuracy``, ``accuracy_top5``, ``ece`` and ``macro_f1``, all but ``n`` in [0, 1], or None
        where there are no samples.
        """
        (support, predicted, right), top = self.counts.compute()
        bins, n = self.bins.compute(), int(support.sum())
        present = support > 0
        f1 = 2 * right[present].double() / (predicted + support)[present]
        scores = {
            "accuracy": int(right.sum()) / max(1, n),
            "accuracy_top5": top / max(1, n),
            "ece": expected_calibration_error(bins),
            "macro_f1": float(f1.sum() / max(1, len(f1))),
        }
        if self.batch_ece is not None:
            unknown = math.isnan(scores["ece"])  # torchmetrics gives a number for NaN, too
            scores["ece_per_batch"] = math.nan if unknown else float(self.batch_ece.compute())
        return {"n": n, **(scores if n else dict.fromkeys(scores))}, {
            "classes": {"n": support.tolist(), "correct": right.tolist()},
            "bins": dict(zip(("n", "correct", "confidence"), bins.T.tolist(), strict=True)),
        }

    def reset(self) -> None:
        """Forget everything."""
        for metric in self.children():
            metric.reset()  # type: ignore[operator]
