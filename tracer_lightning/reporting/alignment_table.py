"""Tables of what stages 0 and 1 of cross-modal fine-tuning changed, from the entry ``alignment`` of results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MEASUREMENTS = {
    "distance": "distance to the source",
    "distortion": "H(Z|Z')",
    "entropy": "H(Z)",
    "bound": "bound on the log-loss",
    "log_loss": "log-loss, transported",
    "accuracy": "accuracy, transported",
    "shift": "shift of the mean prediction",
    "shift_bound": "its bound, L W1",
}
"""Titles of the measurements of stage 1."""
SLOPES = {
    "accuracy": "accuracy of the source predictor",
    "slope": "mean slope",
    "steep": "share of slopes above tau",
    "lipschitz": "Lipschitz constant L",
}
"""Titles of the measurements of stage 0, the recalibration."""


class AlignmentTable(NamedTuple):
    """Values before and after a stage."""

    title: str
    rows: list[tuple[str, str, str]]
    """Title of a measurement, its value before, and after."""


def alignment_tables(alignment: Mapping[str, Any]) -> list[AlignmentTable]:
    """The tables of stage 0, where the source predictor was recalibrated, and of stage 1.

    Args:
        alignment: ``before`` and ``after``, and perhaps ``recalibration`` with the same.
    """
    stages = {"Stage 1": (alignment, MEASUREMENTS)}
    if "recalibration" in alignment:
        stages = {"Stage 0": (alignment["recalibration"], SLOPES), **stages}
    return [AlignmentTable(title, _rows(measured, titles)) for title, (measured, titles) in stages.items()]


def _rows(measured: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> list[tuple[str, str, str]]:
    before, after = measured["before"], measured["after"]
    return [(title, f"{before[name]:.3f}", f"{after[name]:.3f}") for name, title in titles.items()]
