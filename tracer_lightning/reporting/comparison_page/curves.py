"""Training curves of runs over each other."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.reporting.comparison import Comparison
from tracer_lightning.reporting.comparison_page.groups import Groups
from tracer_lightning.reporting.report.curve_panels import LOSS, NOT_DRAWN
from tracer_lightning.reporting.report.drawing import POINTS, CurveDrawing, draw_curves
from tracer_lightning.reporting.runs import Run
from tracer_lightning.reporting.training_curves import Curve, read_curves, smoothed
from tracer_lightning.storage.run_layout import METRICS

MAX_PANELS = 12
"""Largest number of panels."""
PAGE_POINTS = 60_000
"""Approximate number of points of all curves, which bounds the size of the page to a few megabytes."""
MIN_POINTS = 12
"""Smallest number of points that long curves are reduced to."""


class RunCurve(NamedTuple):
    """Curve of one run."""

    group: int
    text: str
    """Tooltip."""
    line: str
    """SVG path."""
    end: tuple[float, float]
    """Last point."""


class OverlaidCurves(NamedTuple):
    """One panel: a curve for each run that logged the metric."""

    title: str
    curves: Sequence[RunCurve]
    drawing: CurveDrawing


class CurvePanels(NamedTuple):
    """Panels of a comparison."""

    panels: Sequence[OverlaidCurves]
    left_out: int
    """Number of further metrics, which are not drawn."""
    unreadable: Sequence[str]
    """A warning for each file that can't be read."""


def curve_panels(comparison: Comparison, groups: Groups) -> CurvePanels:
    """Read the runs' metrics and draw those that come first: losses, validation, then teacher and student.

    Args:
        comparison: rows whose runs are drawn.
        groups: numbers of the groups of the comparison.
    """
    runs: dict[Path, tuple[int, str, Run]] = {}
    for number, row in zip(groups.of_rows, comparison.rows, strict=True):
        for run in row.runs:
            runs.setdefault(run.folder, (number, f"{row.label}, seed {run.seed}", run))
    logged: dict[str, dict[Path, Curve]] = {}
    unreadable = []
    for folder in runs:
        try:
            curves = read_curves(folder / METRICS)
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            unreadable.append(f"{folder / METRICS}: not a valid file of a run ({error!r}); its curves are left out")
            continue
        for name, curve in curves.items():
            if curve.values:
                logged.setdefault(name, {})[folder] = smoothed(curve, POINTS)
    shown_metrics = {metric.name for metric in comparison.declared.values() if metric.shown}
    drawn = [name for name in logged if name not in NOT_DRAWN and not name.startswith("test/")]
    shown = sorted(drawn, key=lambda name: _rank(name, shown_metrics))[:MAX_PANELS]
    points = max(MIN_POINTS, min(POINTS, PAGE_POINTS // max(1, sum(len(logged[name]) for name in shown))))
    return CurvePanels(
        [_panel(name, logged[name], runs, points) for name in shown], len(drawn) - len(shown), unreadable
    )


def _rank(name: str, shown_metrics: Set[str]) -> int:
    """Place of a metric's panel among those of other metrics."""
    is_validation = name.startswith("val/") and name.rpartition("/")[2] in shown_metrics
    places = (
        name == f"{LOSS}total",
        is_validation,
        name.startswith(LOSS),
        name.startswith("teacher/"),
        name.startswith("student/"),
        name.startswith("train/"),
    )
    return next((place for place, is_here in enumerate(places) if is_here), len(places))


def _panel(
    name: str, curves: Mapping[Path, Curve], runs: Mapping[Path, tuple[int, str, Run]], points: int
) -> OverlaidCurves:
    drawing = draw_curves({str(folder): smoothed(curve, points) for folder, curve in curves.items()})
    lines = [
        RunCurve(*runs[folder][:2], line["line"], line["end"])
        for folder, line in zip(curves, drawing.lines, strict=True)
    ]
    return OverlaidCurves(name, lines, drawing)
