"""Comparison of merged models: a table, a figure of ID against OOD, and files."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.style import COLOURS
from tracer_lightning.reporting.tables import MISSING
from tracer_lightning.scores import ROLE_TITLES, Metric, Scores, headline_of
from tracer_lightning.storage import write_text

CURVES = {"wise_ft": "WiSE-FT", "fisher": "Fisher-weighted WiSE-FT"}
"""Names of interpolating merges in figures."""
LOOKS = {
    "before fine-tuning": ("s", 8.0, COLOURS["zero_shot"]),
    "fine-tuned": ("D", 6.5, COLOURS["published"]),
    "their mean": ("^", 8.0, COLOURS["student"]),
    "Model Stock": ("o", 7.0, COLOURS["teacher"]),
}
"""Marker, size and colour of highlighted points, by legend entry."""
MIXTURE = ("o", 4.5, COLOURS["student"])
"""Marker, size and colour of all other points."""
LABEL_DISTANCE = 13
"""Smallest distance between labelled points, in typographic points, so that labels do not overlap."""


def headlines(scores: Mapping[str, Mapping[str, Any]], metrics: Sequence[Metric], primary: str) -> dict[str, Metric]:
    """Headline metric of the scored sets of each role that has any, that of the role's first set.

    Args:
        scores: scores by data set or average.
        metrics: metrics of the suite.
        primary: name of the primary one.
    """
    ordered = sorted(metrics, key=lambda metric: metric.name != primary)
    metric_of: dict[str, Metric] = {}
    for role in ROLE_TITLES:
        for values in scores.values():
            metric = headline_of(values, ordered) if values.get("role") == role else None
            if metric is not None and values[metric.name] is not None:
                metric_of.setdefault(role, metric)
    return metric_of


def by_role(scores: Mapping[str, Mapping[str, Any]], metric: str) -> dict[str, float]:
    """Mean of a metric over the scored sets of each role that has any."""
    scored = [sets for sets in scores.values() if sets.get(metric) is not None]
    values = {role: [sets[metric] for sets in scored if sets.get("role") == role] for role in ROLE_TITLES}
    return {role: sum(scores) / len(scores) for role, scores in values.items() if scores}


def main_metrics(metrics: Sequence[Metric], primary: str) -> list[Metric]:
    """The metrics of a table: the primary one and, if there is one, the first that is better in the other direction.

    Args:
        metrics: metrics to choose from.
        primary: name of the primary one, such as ``accuracy``, beside which the table shows the ECE.
    """
    (first,) = (metric for metric in metrics if metric.name == primary)
    opposite = (metric for metric in metrics if metric.shown and metric.better != first.better)
    return [first, *itertools.islice(opposite, 1)]


def merged_table(
    title: str, heading: str, results: Mapping[str, Scores], metrics: Sequence[Metric], primary: str
) -> Table:
    """Table with a row for each model: the main metrics on the sets of each role.

    Args:
        title: title of the table.
        heading: heading of the column of models.
        results: scores by model.
        metrics: metrics of the suite.
        primary: name of the primary one.
    """
    first = next(iter(results.values()))
    columns = [
        (role, metric)
        for role, headline in headlines(first, metrics, primary).items()
        for metric in main_metrics([metric for metric in metrics if role in by_role(first, metric.name)], headline.name)
    ]
    table = Table(title=Text(title), box=box.SIMPLE, pad_edge=False)
    unit = ", in percent" if all(metric.percent for _, metric in columns) else ""
    table.caption = f"means over the sets of each role{unit}"
    table.add_column(heading, no_wrap=True)
    for role, metric in columns:
        table.add_column(f"{ROLE_TITLES[role]} {metric.title}", justify="right")
    for model, scores in results.items():
        numbers = (_number(by_role(scores, metric.name)[role], metric) for role, metric in columns)
        table.add_row(Text(model), *numbers)
    return table


def _number(value: float, metric: Metric) -> str:
    if not math.isfinite(value):
        return MISSING
    return f"{100 * value:.1f}" if metric.percent else f"{value:.4g}"


def write_scores(path: Path, heading: str, results: Mapping[str, Scores], metrics: Sequence[Metric]) -> None:
    """Write unrounded scores as CSV with a line for each model and dataset or average.

    Args:
        path: file to write.
        heading: heading of the column of models.
        results: scores by model.
        metrics: metrics of the suite; those that were measured and have averages are written, by name.
    """
    measured = {name for scores in results.values() for values in scores.values() for name in values}
    columns = sorted(metric.name for metric in metrics if metric.averaged and metric.name in measured)
    rows: list[list[Any]] = [[heading, "data_set", "split", "role", "n", *columns]]
    for model, scores in results.items():
        for data_set, values in scores.items():
            description = (values.get(key, "") for key in ("split", "role", "n"))
            rows.append([model, data_set, *description, *(values.get(name, "") for name in columns)])
    write_text(path, csv_text(rows))


def trade_off_figure(
    results: Mapping[str, Scores],
    x: tuple[str, Metric],
    y: tuple[str, Metric],
    marks: Mapping[str, str],
    curve: str | None,
) -> Figure:
    """Draw a point for each model, such as ID accuracy on the x axis and OOD accuracy on the y axis.

    Args:
        results: scores on sets of both roles by model.
        x: role and metric of the x axis.
        y: role and metric of the y axis.
        marks: keys of ``LOOKS`` by highlighted model, for the legend.
        curve: name of the line that connects the models by alpha, which labels them; None for no line.
    """
    points = {model: (_displayed_mean(scores, *x), _displayed_mean(scores, *y)) for model, scores in results.items()}
    figure = Figure(figsize=(5.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.margins(0.1)
    if curve:
        axes.plot(*zip(*points.values(), strict=True), color=MIXTURE[-1], lw=1.0, zorder=2, label=f"{curve}, by alpha")
    for model, point in points.items():
        marker, size, colour = LOOKS[marks[model]] if model in marks else MIXTURE
        axes.plot(*point, marker, color=colour, ms=size, label=marks.get(model), zorder=3)
    axes.set(xlabel=_axis_label(*x), ylabel=_axis_label(*y))
    if curve:
        _write_names(axes, {model: points[model] for model in sorted(points, key=lambda model: model not in marks)})
    handles, names = axes.get_legend_handles_labels()
    entries = dict(zip(names, handles, strict=True))
    axes.legend(entries.values(), entries)
    return figure


def _displayed_mean(scores: Scores, role: str, metric: Metric) -> float:
    """Mean over the sets of a role, in percent if the metric is a fraction."""
    return (100 if metric.percent else 1) * by_role(scores, metric.name)[role]


def _axis_label(role: str, metric: Metric) -> str:
    return f"{ROLE_TITLES[role]} {metric.title}{' (%)' if metric.percent else ''}"


def _write_names(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Label points in their order, except those too close to a labelled one."""
    smallest = LABEL_DISTANCE / 72 * axes.figure.dpi
    labelled: list[Any] = []
    for name, point in points.items():
        position = axes.transData.transform(point)
        if all(math.dist(position, label) >= smallest for label in labelled):
            axes.annotate(name, point, (6, 4), textcoords="offset points", fontsize=8)
            labelled.append(position)


def tensor_kind(name: str) -> str:
    """Module of a tensor without the block's number, such as ``transformer.resblocks.*.attn``, or its own name."""
    return re.sub(r"^(.*?\.)\d+\.(\w+).*", r"\1*.\2", name)


def write_ratios(path: Path, ratios: Mapping[str, tuple[float, float]], sizes: Mapping[str, int]) -> None:
    """Write a CSV line for each tensor with its number of elements, the cosine and the ratio."""
    rows = ([name, sizes[name], *values] for name, values in ratios.items())
    write_text(path, csv_text([["tensor", "elements", "cosine", "ratio"], *rows]))


def ratio_summary(ratios: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, Any]]:
    """Number of tensors with the minimum, median and maximum ratio, over all and by kind."""
    kinds: dict[str, list[float]] = {"all": [ratio for _, ratio in ratios.values()]}
    for name, (_, ratio) in ratios.items():
        kinds.setdefault(tensor_kind(name), []).append(ratio)
    return {name: _spread(values) for name, values in kinds.items() if values}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"tensors": len(values), "min": min(values), "median": median(values), "max": max(values)}


def ratio_table(summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """Table of a :func:`ratio_summary`."""
    table = Table(title="ratio t, share of the mean of the models", box=box.SIMPLE, pad_edge=False)
    table.add_column("tensors of", no_wrap=True)
    for head in ("n", "min", "median", "max"):
        table.add_column(head, justify="right")
    for name, row in summary.items():
        table.add_row(Text(name), str(row["tensors"]), *(f"{row[key]:.2f}" for key in ("min", "median", "max")))
    return table
