"""Ablation curves: accuracy and ECE against the one setting that varies."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracer_lightning.reporting.comparison import Comparison, ComparisonRow, Measurement, ResultKey
from tracer_lightning.reporting.model_choices import ZERO_SHOT
from tracer_lightning.reporting.published import ECE, FREQUENCY_TABLE, NOTES, PER_BATCH, curve, paper_data_set
from tracer_lightning.reporting.settings import EVERY, TERMS, Value, format_value, size_of_terms, title
from tracer_lightning.reporting.style import COLOURS

LEGEND = ("student", "teacher", "published", "zero-shot")
FOOTNOTE = 110
"""Number of characters per line of a footnote."""
DECADE = 10
"""Ratio of the largest to the smallest value from which the axis is logarithmic."""


def swept_key(comparison: Comparison) -> str:
    """Key of the only setting that varies, against which curves are drawn.

    Raises:
        ValueError: several settings or none vary, or the setting is neither a number nor the set of terms.
    """
    keys = comparison.keys
    if len(keys) != 1:
        varied = ", ".join(map(title, keys)) or "none"
        raise ValueError(f"curves take runs in which exactly one setting varies; here vary: {varied}")
    values = {row.settings.get(keys[0]) for row in comparison.rows if row.seeds}
    if keys[0] != TERMS and not all(isinstance(value, int | float) for value in values):
        raise ValueError(f"curves are drawn against a number or sets of terms; here varies {title(keys[0])}")
    if not values:
        raise ValueError("curves need the student or the teacher; choose another model")
    return keys[0]


def _lines(comparison: Comparison, key: ResultKey) -> Mapping[str, list[tuple[ComparisonRow, Measurement]]]:
    """Rows and measurements of each model that has seeds."""
    lines: dict[str, list[tuple[ComparisonRow, Measurement]]] = {}
    for row in comparison.rows:
        if row.seeds and key in row.cells:
            lines.setdefault(row.model, []).append((row, row.cells[key]))
    return lines


def _published(comparison: Comparison, setting: str, key: ResultKey) -> dict[Value, float]:
    """Published curve over the swept setting, if the other settings are those of the paper."""
    row = next(row for row in comparison.rows if row.seeds)
    if key.data_set not in row.scores:
        return {}
    metric = PER_BATCH if key.metric == ECE else key.metric
    return curve(row.settings, setting, paper_data_set(key.data_set, row.scores), metric)


def _axis(values: Sequence[Value]) -> tuple[list[Value], bool]:
    """Distinct values in the order of the axis, and whether they are numbers."""
    if all(isinstance(value, int | float) for value in values):
        return sorted(set(values), key=float), True
    return sorted(set(values), key=lambda value: (size_of_terms(value), str(value))), False


def _panel(axes: Axes, comparison: Comparison, setting: str, key: ResultKey) -> None:
    lines, metric = _lines(comparison, key), comparison.metric(key.metric)
    unit = 100 if metric.percent else 1
    published = _published(comparison, setting, key)
    measured = [row.settings[setting] for points in lines.values() for row, _ in points]
    order, numeric = _axis([*measured, *published])
    positions = {value: float(value) if numeric else float(number) for number, value in enumerate(order)}
    line = "-" if numeric else ""
    for model, points in lines.items():
        x = [positions[row.settings[setting]] for row, _ in points]
        y = [unit * cell.mean for _, cell in points]
        spread = [unit * (math.nan if cell.std is None else cell.std) for _, cell in points]
        axes.errorbar(x, y, spread, fmt=f"o{line}", color=COLOURS[model], ms=4, capsize=3, label=model)
    if published:
        x = [positions[value] for value in order if value in published]
        y = [100 * published[value] for value in order if value in published]
        name = "published (ECE per batch)" if key.metric == ECE else "published"
        axes.plot(x, y, f"s{'--' if numeric else ''}", color=COLOURS["published"], ms=4, mfc="white", label=name)
    if not numeric:
        axes.set_xticks(range(len(order)), [format_value(setting, value) for value in order], rotation=45, ha="right")
    elif float(order[0]) > 0 and float(order[-1]) / float(order[0]) >= DECADE:
        axes.set_xscale("log")
    axes.set_title(key.data_set)
    axes.set_ylabel(f"{metric.title} (%)" if metric.percent else metric.title)
    before = [row.cells[key].mean for row in comparison.rows if row.model == ZERO_SHOT and key in row.cells]
    if len(before) == 1:
        _reference(axes, unit * before[0])


def _reference(axes: Axes, value: float) -> None:
    """Draw the zero-shot result as a line, unless it would squeeze the curves to less than half the height."""
    low, high = axes.get_ylim()
    axes.axhline(value, color=COLOURS[ZERO_SHOT], ls=":", label="zero-shot")
    if not 2 * low - high <= value <= 2 * high - low:
        axes.set_ylim(low, high)
    axes.set_title(f"{axes.get_title()} (zero-shot: {value:.1f})")


def draw(comparison: Comparison) -> Figure:
    """Draw the headline metrics side by side, one row per headline set; error bars are standard deviations.

    Published values are drawn as dashed lines.

    Raises:
        ValueError: as for :func:`swept_key`.
    """
    setting = swept_key(comparison)
    sets, metrics = comparison.headline_sets, comparison.headline_metrics
    figure = Figure(figsize=(9, 1 + 2.6 * len(sets)), layout="constrained")
    grid = figure.subplots(len(sets), len(metrics), squeeze=False, sharex="col")
    for row, data_set in zip(grid, sets, strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            _panel(axes, comparison, setting, ResultKey(data_set, metric))
    for axes in grid[-1]:
        axes.set_xlabel(title(setting))
    handles = {name: line for axes in grid.flat for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    names = sorted(handles, key=lambda name: LEGEND.index(name.partition(" ")[0]))
    figure.legend([handles[name] for name in names], names, loc="outside upper center", ncols=len(names))
    if setting == EVERY and "published" in names:
        figure.supxlabel(textwrap.fill(NOTES[FREQUENCY_TABLE], FOOTNOTE), fontsize="small", color="dimgrey")
    return figure
