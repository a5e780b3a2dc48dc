"""Statistics of teachers and students over the steps of several runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracer_lightning.reporting.escaping import csv_text, without_formulas
from tracer_lightning.reporting.runs import Run, RunGroup
from tracer_lightning.reporting.settings import METHOD, label, varied_keys
from tracer_lightning.reporting.training_curves import Curve, read_curves
from tracer_lightning.storage.run_layout import METRICS

WAY, GAP, SHARE = "student/distance_to_start", "teacher/distance_to_student", "teacher/gap_share"
STATISTICS = {
    "teacher/kl": "KL(teacher ‖ student) (nats)",
    "teacher/kl_reverse": "KL(student ‖ teacher) (nats)",
    "teacher/agreement": "agreement",
    "teacher/top5_overlap": "overlap of the top five",
    "student/entropy": "entropy, student (nats)",
    "teacher/entropy": "entropy, teacher (nats)",
    "student/confidence": "confidence, student",
    "teacher/confidence": "confidence, teacher",
    "student/true_pair": "true pair, student",
    "teacher/true_pair": "true pair, teacher",
    WAY: "way ‖θ − θ₀‖, student",
    "teacher/distance_to_start": "way ‖θ − θ₀‖, teacher",
    GAP: "gap ‖teacher − student‖",
    SHARE: "gap / student's way",
}
"""Titles of the statistics; the last one is derived from two others."""
WEIGHTS = (WAY, "teacher/distance_to_start", GAP, SHARE)
PANELS = (
    ("KL(teacher ‖ student)", "nats", "log", ("teacher/kl",)),
    ("KL(student ‖ teacher)", "nats", "log", ("teacher/kl_reverse",)),
    ("agreement on the most probable", "share of rows", "linear", ("teacher/agreement",)),
    ("entropy", "nats", "linear", ("student/entropy", "teacher/entropy")),
    ("confidence", "probability", "linear", ("student/confidence", "teacher/confidence")),
    ("true pair", "probability", "linear", ("student/true_pair", "teacher/true_pair")),
    ("way from the start", "‖θ − θ₀‖", "linear", (WAY, "teacher/distance_to_start")),
    ("gap between teacher and student", "‖θ(teacher) − θ(student)‖", "linear", (GAP,)),
    ("gap as a share of the student's way", "share", "linear", (SHARE,)),
)
"""Title, unit, scale of the y axis and statistics of each panel."""
COLUMNS = 3
POINTS = 50
"""Largest number of points of a curve of batch statistics; more are averaged over neighbours, as they are noisy."""
ROUNDING = 1e-7
"""Divergences below are those of equal models in single precision, and are not drawn on a logarithmic axis."""
PARTS = ("start", "middle", "end")


class Trace(NamedTuple):
    """One statistic of runs that differ only in their seeds."""

    steps: Sequence[int]
    values: np.ndarray
    """Values, (seeds, steps)."""

    @property
    def parts(self) -> np.ndarray:
        """Means (seeds, 3) over the first, the middle and the last tenth of the steps."""
        count = self.values.shape[1]
        width = max(1, count // 10)
        begins = (0, (count - width) // 2, count - width)
        return np.stack([self.values[:, begin : begin + width].mean(axis=1) for begin in begins], axis=1)


class Dynamics(NamedTuple):
    """Statistics of one group of runs."""

    label: str
    seeds: Sequence[int]
    traces: Mapping[str, Trace]
    """Logged statistics by name, in the order of :data:`STATISTICS`."""


class StatisticRow(NamedTuple):
    """Mean and standard deviation over seeds (None for one) of one statistic of a group, for each part of a run."""

    statistic: str
    label: str
    seeds: int
    means: list[float]
    stds: list[float | None]


def _curves(run: Run) -> dict[str, Curve]:
    curves = read_curves(run.folder / METRICS)
    if {WAY, GAP} <= set(curves):
        way = dict(zip(curves[WAY].steps, curves[WAY].values, strict=True))
        pairs = zip(curves[GAP].steps, curves[GAP].values, strict=True)
        shares = [(step, gap / way[step]) for step, gap in pairs if way.get(step)]
        curves[SHARE] = Curve([step for step, _ in shares], [share for _, share in shares])
    return curves


def _trace(curves: Sequence[Curve]) -> Trace | None:
    """Values at the steps that all curves have."""
    tables = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    steps = sorted(set.intersection(*map(set, tables)))
    return Trace(steps, np.array([[table[step] for step in steps] for table in tables])) if steps else None


def read_dynamics(groups: Sequence[RunGroup]) -> list[Dynamics]:
    """Read the logged statistics of teachers and students by group.

    Raises:
        ValueError: a group has no such statistics.
    """
    keys = varied_keys([group.settings for group in groups]) or [METHOD]
    dynamics = []
    for group in groups:
        curves = [_curves(run) for run in group.runs]
        shared = [name for name in STATISTICS if all(name in run_curves for run_curves in curves)]
        traces = {name: trace for name in shared if (trace := _trace([run_curves[name] for run_curves in curves]))}
        if not traces:
            folders = ", ".join(str(run.folder) for run in group.runs)
            raise ValueError(f"{folders}: no statistics in metrics.csv; train with the callback TeacherStatistics")
        dynamics.append(Dynamics(label(group.settings, keys), group.seeds, traces))
    return dynamics


def summarize(dynamics: Sequence[Dynamics]) -> list[StatisticRow]:
    """Summarise every statistic of every group, sorted by statistic."""
    rows = []
    for name in STATISTICS:
        for group in (group for group in dynamics if name in group.traces):
            parts = group.traces[name].parts.T.tolist()  # (3, seeds)
            stds = [statistics.stdev(part) if len(part) > 1 else None for part in parts]
            means = [statistics.fmean(part) for part in parts]
            rows.append(StatisticRow(name, group.label, len(group.seeds), means, stds))
    return rows


def as_csv(rows: Sequence[StatisticRow]) -> str:
    """Format all rows, unrounded, as CSV."""
    lines: list[list[Any]] = [
        ["statistic", "run", "seeds", *(f"{part}{suffix}" for part in PARTS for suffix in ("", "_std"))]
    ]
    for row in rows:
        numbers = [number for pair in zip(row.means, row.stds, strict=True) for number in pair]
        lines.append([row.statistic, row.label, row.seeds, *numbers])
    return csv_text(lines)


def _smoothed(name: str, trace: Trace) -> Trace:
    """Average neighbouring steps of a statistic of batches; distances have no noise and are kept."""
    if name in WEIGHTS or len(trace.steps) <= POINTS:
        return trace
    pieces = np.array_split(np.vstack([trace.steps, trace.values]), POINTS, axis=1)  # (1 + seeds, neighbours) each
    means = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
    return Trace(means[0].tolist(), means[1:])


def _draw_trace(axes: Axes, trace: Trace, colour: str, solid: bool, logarithmic: bool) -> None:
    """Draw the mean as a line and the range of the seeds as a band."""
    values = np.where(trace.values > ROUNDING, trace.values, np.nan) if logarithmic else trace.values
    axes.plot(trace.steps, values.mean(axis=0), "-" if solid else "--", color=colour, lw=1.3)
    if len(values) > 1:
        axes.fill_between(trace.steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)


def draw(dynamics: Sequence[Dynamics]) -> Figure:
    """Draw a panel for each statistic with a colour for each group: means over seeds with the range of the seeds."""
    logged = {name for group in dynamics for name in group.traces}
    panels = [panel for panel in PANELS if logged & set(panel[3])]
    height = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(11, 0.7 + 2.6 * height), layout="constrained")
    grid = figure.subplots(height, COLUMNS, squeeze=False).ravel()
    for axes, (title, unit, scale, names) in zip(grid, panels, strict=False):
        for number, group in enumerate(dynamics):
            for name in (name for name in names if name in group.traces):
                solid = len(names) == 1 or name.startswith("student/")
                _draw_trace(axes, _smoothed(name, group.traces[name]), f"C{number}", solid, scale == "log")
        axes.set(title=title, ylabel=unit, xlabel="optimizer step", yscale=scale)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles = [
        grid[0].plot([], [], color=f"C{number}", label=without_formulas(group.label))[0]
        for number, group in enumerate(dynamics)
    ]
    handles += [
        grid[0].plot([], [], style, color="dimgrey", label=name)[0]
        for name, style in (("student; between both", "-"), ("teacher", "--"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4))
    return figure
