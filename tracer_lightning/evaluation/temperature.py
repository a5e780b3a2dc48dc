"""Temperature scaling (Guo et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from tracer_lightning.evaluation.calibration import CalibrationBins, expected_calibration_error
from tracer_lightning.evaluation.collected import Collected
from tracer_lightning.types import IGNORE_INDEX

CHUNK = 4096
"""Samples whose logits are widened at once."""


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature T > 0 that minimises the cross-entropy of ``logits / T``; NaN where a logit is.

    Args:
        logits: (N, C).
        labels: (N,) class indices.
    """
    if not len(labels):
        raise ValueError("labels must not be empty: the set to fit the temperature on has no samples")
    if logits.isnan().any():
        return math.nan

    def loss(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        chunks = zip(logits.split(CHUNK), labels.split(CHUNK), strict=True)  # type: ignore[no-untyped-call]
        return sum(float(F.cross_entropy(scale * part.double(), right, reduction="sum")) for part, right in chunks)

    optimum = minimize_scalar(loss, bounds=(math.log(1e-3), math.log(1e3)), method="bounded", options={"xatol": 1e-6})
    return math.exp(optimum.x)


class Logits(Collected):
    """All logits (N, C) and labels (N,) of a data set, without padding."""

    def __init__(self) -> None:
        super().__init__("logits", "labels")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Take in logits (B, C) and labels (B,), -1 for padding."""
        self.append(logits=logits, labels=labels)

    def counted(self) -> tuple[Tensor, Tensor]:
        """All of them, where double precision is to be had, without padding: before, the host would have to wait."""
        logits, labels = (values.cpu() for values in self.gathered().values())
        counted = labels != IGNORE_INDEX
        return logits[counted], labels[counted]


class TemperatureScaling(nn.Module):
    """ECE of one model at the temperature fitted on one data set, which must come first.

    Args:
        names: the data sets, in order; the first is the one that the temperature is fitted on.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.fitted_on = Logits()
        self.bins = nn.ModuleList(CalibrationBins() for _ in names)
        self.temperature: float | None = None

    def reset(self) -> None:
        """Forget everything."""
        self.temperature = None
        for metric in (self.fitted_on, *self.bins):
            metric.reset()

    def update(self, set_index: int, logits: Tensor, labels: Tensor) -> None:
        """Take in logits (B, C) and labels (B,) of the data set at that place."""
        if set_index == 0:
            self.fitted_on.update(logits, labels)
        else:
            self._count(set_index, logits, labels)

    def _count(self, set_index: int, logits: Tensor, labels: Tensor) -> None:
        if self.temperature is None:
            self.temperature = fit_temperature(*self.fitted_on.counted())
        self.bins[set_index].update((logits / self.temperature).softmax(dim=-1), labels)  # type: ignore[operator]

    def compute(self) -> dict[str, Any]:
        """``temperature``, ``fitted_on``, and ``ece`` of each set at that temperature, None where it has no samples."""
        logits, labels = self.fitted_on.counted()
        first = CalibrationBins(sync_on_compute=False)  # it has the logits of all ranks
        self.temperature = self.temperature or fit_temperature(logits, labels)
        first.update((logits / self.temperature).softmax(dim=-1), labels)
        bins = [first.compute(), *(metric.compute() for metric in list(self.bins)[1:])]  # type: ignore[operator]
        ece = {
            name: expected_calibration_error(part) if part[:, 0].any() else None
            for name, part in zip(self.names, bins, strict=True)
        }
        return {"temperature": self.temperature, "fitted_on": self.names[0], "ece": ece}
