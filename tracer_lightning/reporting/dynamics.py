"""How teachers and students of several runs developed, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracer_lightning.reporting.escaping import csv_text, without_formulas
from tracer_lightning.reporting.runs import Group, Run
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
"""What is shown; the last is made of two others."""
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
"""Title, unit, axis and curves of each."""
COLUMNS = 3
POINTS = 50
"""Batches differ: where their statistics are more, neighbours are drawn as their mean."""
ROUNDING = 1e-7
"""Divergences below are those of equal models in single precision, and have no place on a logarithmic axis."""
PARTS = ("start", "middle", "end")


class Trace(NamedTuple):
    """One statistic of runs that differ in their seeds."""

    steps: Sequence[int]
    values: np.ndarray
    """(seeds, steps)."""

    @property
    def parts(self) -> np.ndarray:
        """(seeds, 3): means over the first, the middle and the last tenth of the steps."""
        count = self.values.shape[1]
        width = max(1, count // 10)
        begins = (0, (count - width) // 2, count - width)
        return np.stack([self.values[:, begin : begin + width].mean(axis=1) for begin in begins], axis=1)


class Dynamics(NamedTuple):
    """One group of runs."""

    label: str
    seeds: Sequence[int]
    traces: Mapping[str, Trace]
    """By name, in the order of :data:`STATISTICS`; what was not logged is not in it."""


class Row(NamedTuple):
    """One statistic of one group: mean and standard deviation over seeds (None for one seed) of each part."""

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
    """At the steps that all have."""
    tables = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    steps = sorted(set.intersection(*map(set, tables)))
    return Trace(steps, np.array([[table[step] for step in steps] for table in tables])) if steps else None


def read_dynamics(groups: Sequence[Group]) -> list[Dynamics]:
    """What was logged of teachers and students, by group.

    Raises:
        ValueError: a group has no such statistics.
    """
    keys = varied_keys([group.settings for group in groups]) or [METHOD]
    found = []
    for group in groups:
        curves = [_curves(run) for run in group.runs]
        shared = [name for name in STATISTICS if all(name in of_run for of_run in curves)]
        traces = {name: trace for name in shared if (trace := _trace([of_run[name] for of_run in curves]))}
        if not traces:
            folders = ", ".join(str(run.folder) for run in group.runs)
            raise ValueError(f"{folders}: no statistics in metrics.csv; train with callbacks=teacher_statistics")
        found.append(Dynamics(label(group.settings, keys), group.seeds, traces))
    return found


def rows(found: Sequence[Dynamics]) -> list[Row]:
    """Every statistic of every group, statistics together."""
    table = []
    for name in STATISTICS:
        for one in (one for one in found if name in one.traces):
            parts = one.traces[name].parts.T.tolist()  # (3, seeds)
            stds = [statistics.stdev(part) if len(part) > 1 else None for part in parts]
            table.append(Row(name, one.label, len(one.seeds), [statistics.fmean(part) for part in parts], stds))
    return table


def as_csv(table: Sequence[Row]) -> str:
    """All rows, unrounded."""
    lines: list[list[Any]] = [
        ["statistic", "run", "seeds", *(f"{part}{what}" for part in PARTS for what in ("", "_std"))]
    ]
    for row in table:
        numbers = [number for pair in zip(row.means, row.stds, strict=True) for number in pair]
        lines.append([row.statistic, row.label, row.seeds, *numbers])
    return csv_text(lines)


def _thinned(name: str, trace: Trace) -> Trace:
    """A statistic of batches with few enough steps; distances have no noise to take away."""
    if name in WEIGHTS or len(trace.steps) <= POINTS:
        return trace
    pieces = np.array_split(np.vstack([trace.steps, trace.values]), POINTS, axis=1)  # (1 + seeds, neighbours) each
    means = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
    return Trace(means[0].tolist(), means[1:])


def _draw_trace(axes: Axes, trace: Trace, colour: str, solid: bool, logarithmic: bool) -> None:
    """The mean as a line, the range of the seeds as a band."""
    values = np.where(trace.values > ROUNDING, trace.values, np.nan) if logarithmic else trace.values
    axes.plot(trace.steps, values.mean(axis=0), "-" if solid else "--", color=colour, lw=1.3)
    if len(values) > 1:
        axes.fill_between(trace.steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)


def draw(found: Sequence[Dynamics]) -> Figure:
    """A colour for each group and a panel for each statistic, means over seeds with the range of the seeds."""
    logged = {name for one in found for name in one.traces}
    panels = [panel for panel in PANELS if logged & set(panel[3])]
    height = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(11, 0.7 + 2.6 * height), layout="constrained")
    grid = figure.subplots(height, COLUMNS, squeeze=False).ravel()
    for axes, (title, unit, scale, names) in zip(grid, panels, strict=False):
        for number, one in enumerate(found):
            for name in (name for name in names if name in one.traces):
                solid = len(names) == 1 or name.startswith("student/")
                _draw_trace(axes, _thinned(name, one.traces[name]), f"C{number}", solid, scale == "log")
        axes.set(title=title, ylabel=unit, xlabel="optimizer step", yscale=scale)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    key = [
        grid[0].plot([], [], color=f"C{number}", label=without_formulas(one.label))[0]
        for number, one in enumerate(found)
    ]
    key += [
        grid[0].plot([], [], style, color="dimgrey", label=name)[0]
        for name, style in (("student; between both", "-"), ("teacher", "--"))
    ]
    figure.legend(handles=key, loc="outside upper center", ncols=min(len(key), 4))
    return figure
