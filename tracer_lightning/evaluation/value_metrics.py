"""Metrics of predicted values on one data set, exact over ranks. Unknown targets, which are NaN, don't count.

A metric is NaN where a prediction that counts is, as those of a model that has diverged.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, Metric, SumMetric
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from torchmetrics.utilities import dim_zero_cat

from tracer_lightning.functional.errors import relative_errors
from tracer_lightning.types import IGNORE_INDEX


class ValueMetrics(nn.Module):
    """Metrics, and the number ``n`` of samples. A subclass gives :meth:`take_in` and :meth:`scores`."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = SumMetric()

    def update(self, outputs: Tensor, targets: Tensor, counted: Tensor) -> None:
        """Take in a batch.

        Args:
            outputs: (B, ...) predictions.
            targets: (B, ...) targets, NaN where they are unknown and in padding.
            counted: (B,) whether a sample is one, and no padding.
        """
        self.samples.update(counted.sum())
        self.take_in(outputs, targets)

    def take_in(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in predictions (B, ...) and targets (B, ...)."""
        raise NotImplementedError

    def scores(self) -> dict[str, Tensor]:
        """Scores () by name, NaN where there is nothing to make them of."""
        raise NotImplementedError

    def compute(self) -> dict[str, Any]:
        """Return ``n`` and the scores, which are None without samples, and NaN where :meth:`scores` are."""
        n = int(self.samples.compute())
        scores = {name: float(score) for name, score in self.scores().items()}
        return {"n": n, **(scores if n else dict.fromkeys(scores))}

    def reset(self) -> None:
        """Forget everything."""
        for metric in self.children():
            metric.reset()  # type: ignore[operator]


def _quietly(metric: Metric) -> Tensor:
    """Value of a metric, without a warning where nothing was taken in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value: Tensor = metric.compute()
    return value


class RankedLabels(Metric):
    """Ranking of samples by the probability that a label holds, for each of several labels."""

    full_state_update = False
    probabilities: Any
    labels: Any

    def __init__(self) -> None:
        super().__init__()
        self.add_state("probabilities", [], dist_reduce_fx="cat")
        self.add_state("labels", [], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Take in logits (B, K) and targets (B, K), 0, 1 or NaN."""
        # doubles, because in single precision ties begin at logits of 17
        self.probabilities.append(logits.double().sigmoid())
        self.labels.append(torch.where(targets.isnan(), IGNORE_INDEX, targets.nan_to_num().long()))

    def compute(self) -> tuple[Tensor, Tensor]:
        """Means () over labels of average precision and of the area under the ROC curve, NaN where there are none.

        Labels that never hold have no precision; these, and labels that always hold, have no area.
        """
        probabilities, labels = dim_zero_cat(self.probabilities), dim_zero_cat(self.labels)  # (N, K)
        precisions, areas = [], []
        for scores, truth in zip(probabilities.T, labels.T, strict=True):
            known = truth != IGNORE_INDEX
            scores, truth = scores[known], truth[known]
            unranked = torch.where(scores.isnan().any(), torch.nan, 0.0)
            if truth.any():
                precisions.append(unranked + binary_average_precision(scores, truth))
                if not truth.all():
                    areas.append(unranked + binary_auroc(scores, truth))
        precision, area = (torch.stack(values).double().mean() if values else torch.tensor(torch.nan) for values in
                           (precisions, areas))  # fmt: skip
        return precision, area


class LabelMetrics(ValueMetrics):
    """One minus the means over labels of average precision and of the area under the ROC curve.

    The means leave out labels that never hold and, in case of the area, labels that always do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ranked = RankedLabels()

    def take_in(self, outputs: Tensor, targets: Tensor) -> None:
        """See :class:`ValueMetrics`; outputs (B, K) are logits."""
        self.ranked.update(outputs, targets)

    def scores(self) -> dict[str, Tensor]:
        """Return ``map_error`` and ``auroc_error``, in [0, 1]."""
        precision, area = self.ranked.compute()
        return {"map_error": 1 - precision, "auroc_error": 1 - area}


class NumberMetrics(ValueMetrics):
    """Root mean squared and mean absolute error of numbers, in their unit."""

    def __init__(self) -> None:
        super().__init__()
        self.squared, self.absolute = MeanSquaredError(squared=False), MeanAbsoluteError()

    def take_in(self, outputs: Tensor, targets: Tensor) -> None:
        """See :class:`ValueMetrics`."""
        known = ~targets.isnan()
        self.squared.update(outputs[known], targets[known])
        self.absolute.update(outputs[known], targets[known])

    def scores(self) -> dict[str, Tensor]:
        """Return ``rmse`` and ``mae``."""
        return {"rmse": _quietly(self.squared), "mae": _quietly(self.absolute)}


class MapMetrics(ValueMetrics):
    """Mean of the relative L2 errors of maps, root mean squared error of all pixels, and mean absolute error of some.

    Maps that are zero everywhere have no relative error. The absolute one is the mean over maps of the mean over their
    pixels that count. With ``cutoff=8`` and ``separation=24`` it is the MAE_8 of a protein's distances of residues,
    without the released code's average of both triangles.

    Args:
        cutoff: value above which pixels don't count in ``mae``; None to count all.
        separation: least number of columns to the right of the diagonal for a pixel to count in ``mae``; None for all.
    """

    def __init__(self, cutoff: float | None = None, separation: int | None = None) -> None:
        super().__init__()
        self.cutoff, self.separation = cutoff, separation
        self.squared = MeanSquaredError(squared=False)
        self.relative, self.absolute = (MeanMetric(nan_strategy="disable") for _ in range(2))

    def take_in(self, outputs: Tensor, targets: Tensor) -> None:
        """See :class:`ValueMetrics`; outputs and targets are (B, H, W)."""
        known = ~targets.isnan()
        self.squared.update(outputs[known], targets[known])
        values = targets.nan_to_num()
        errors, defined = relative_errors(outputs, values, known)
        self.relative.update(errors[defined])
        if self.cutoff is not None:
            known = known & (targets <= self.cutoff)
        if self.separation is not None:
            known = known & torch.ones_like(known).triu(self.separation)
        pixels = known.flatten(1).sum(dim=1)
        errors = (outputs - values).abs().masked_fill(~known, 0.0).flatten(1).sum(dim=1) / pixels.clamp(min=1)
        self.absolute.update(errors[pixels > 0])

    def scores(self) -> dict[str, Tensor]:
        """Return ``relative_l2``, ``rmse`` and ``mae``."""
        metrics = {"relative_l2": self.relative, "rmse": self.squared, "mae": self.absolute}
        return {name: _quietly(metric) for name, metric in metrics.items()}


class MaskMetrics(ValueMetrics):
    """One minus the area under the ROC curve of all pixels, and the share of pixels on the wrong side of 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.ranked, self.wrong = RankedLabels(), MeanMetric(nan_strategy="disable")

    def take_in(self, outputs: Tensor, targets: Tensor) -> None:
        """See :class:`ValueMetrics`; outputs (B, H, W) are logits."""
        self.ranked.update(outputs.reshape(-1, 1), targets.reshape(-1, 1))
        known = ~targets.isnan()
        wrong = ((outputs > 0) != (targets > 0)).double().masked_fill(outputs.isnan(), torch.nan)
        self.wrong.update(wrong[known])

    def scores(self) -> dict[str, Tensor]:
        """Return ``auroc_error`` and ``pixel_error``, in [0, 1]."""
        return {"auroc_error": 1 - self.ranked.compute()[1], "pixel_error": _quietly(self.wrong)}
