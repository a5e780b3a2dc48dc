"""Results on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from tracer_lightning.scores import AVERAGE, AVERAGE_OTHER, CLASSIFICATION, Details, Metric, Scores, sets_by_kind

TITLES = {"zero_shot": "zero-shot", "student": "student", "teacher": "teacher"}
MEAN_ROLES = {AVERAGE: "ood", AVERAGE_OTHER: "other"}
"""Roles by the averages over their sets."""
SHOWN = 3
"""Classes at either end."""


def _percent(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def format_score(metric: Metric, value: float | None) -> str:
    """Format a value of a metric, in percent where the metric is a share; a dash where there is no finite value."""
    return _percent(value) if metric.percent or value is None or not math.isfinite(value) else f"{value:.4g}"


def _width(metric: Metric) -> int:
    """Columns that its numbers and its head take, with a space: a low error has two digits before the point."""
    longest = 9 if not metric.percent else 5 if metric.better == "higher" else 4
    return max(longest, len(metric.column) + 1)


def _cell(values: Mapping[str, Any], metrics: Sequence[Metric]) -> str:
    texts = (format_score(metric, values[metric.name]) if metric.name in values else "" for metric in metrics)
    return " ".join(f"{text:>{_width(metric)}}" for metric, text in zip(metrics, texts, strict=True))


def _caption(metrics: Sequence[Metric], untrained: bool) -> str:
    """Titles and unit of the numbers of a table."""
    titles = [metric.title for metric in metrics]
    listed = " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
    unit = " in percent" if all(metric.percent for metric in metrics) else ""
    return f"{listed}{unit}{'; zero-shot: before training' if untrained else ''}"


def results_table(
    title: str,
    results: Mapping[str, Scores | None],
    primary: str = "accuracy",
    metrics: Sequence[Metric] = CLASSIFICATION,
    every: bool = False,
) -> Table:
    """Metrics of every model on data sets that have the same ones; accuracy, ECE and macro-F1 are 80 columns wide.

    Args:
        title: above the table.
        results: names of models, such as ``zero_shot``, ``student`` and ``teacher``, to their scores, None where there
            is no such model.
        primary: name of the metric that comes first.
        metrics: those of the suite.
        every: show all of them, and not only those that are shown by default.
    """
    models = {name: scores for name, scores in results.items() if scores}
    measured = {name for values in next(iter(models.values())).values() for name in values}
    declared = [metric for metric in metrics if metric.averaged and (metric.shown or every) and metric.name in measured]
    columns = sorted(declared, key=lambda metric: metric.name != primary)
    header = " ".join(f"{metric.column:>{_width(metric)}}" for metric in columns)
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    table.caption = _caption(declared, "zero_shot" in models)
    table.add_column("data set", no_wrap=True)
    table.add_column("role", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name in models:
        table.add_column(f"{TITLES.get(name, name):^16}\n{header}", no_wrap=True)
    for name, values in next(iter(models.values())).items():
        cells = [_cell(scores[name], columns) for scores in models.values()]
        if "sets" in values:
            table.add_section()
            label = ("mean", MEAN_ROLES[name]) if name in MEAN_ROLES else (name, "mean")
            table.add_row(*label, "", *cells, style="bold")
        else:
            table.add_row(name, values["role"], str(values["n"]), *cells)
        for metric in metrics:
            if not metric.averaged and metric.name in values:
                numbers = (format_score(metric, scores[name][metric.name]) for scores in models.values())
                table.add_row(f"  {metric.title}", "", "", *(f"{number:>{_width(metric)}}" for number in numbers))
    return table


def results_tables(
    title: str,
    results: Mapping[str, Scores | None],
    primary: str,
    metrics: Sequence[Metric],
    every: bool = False,
) -> list[Table]:
    """Tables of all scores: one for the data sets of each kind, such as those with labels and those with captions.

    Args:
        title: above the first table.
        results: as for :func:`results_table`.
        primary: as for :func:`results_table`.
        metrics: as for :func:`results_table`.
        every: as for :func:`results_table`.
    """
    ordered = sorted(metrics, key=lambda metric: metric.name != primary)
    first = next(scores for scores in results.values() if scores)
    tables = []
    for number, kind in enumerate(sets_by_kind(first, ordered)):
        of_kind = {model: scores and {name: scores[name] for name in kind.names} for model, scores in results.items()}
        tables.append(results_table("" if number else title, of_kind, primary, kind.metrics, every))
    return tables


def classes_table(title: str, labels: Mapping[str, Sequence[str]], details: Mapping[str, Details]) -> Table:
    """The classes with the lowest and the highest accuracy of each data set.

    Args:
        title: above the table.
        labels: data set to the names of its labels.
        details: data set to what its scores are made of.
    """
    table = Table("data set", "worst", "best", title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    for data_set, values in details.items():
        counts = zip(values["classes"]["n"], values["classes"]["correct"], labels[data_set], strict=True)
        ranked = sorted((right / n, n, name) for n, right, name in counts if n)
        ends = [ranked[:SHOWN], ranked[max(SHOWN, len(ranked) - SHOWN) :][::-1]]
        table.add_row(
            data_set, *("\n".join(f"{100 * share:5.1f} {name} ({n})" for share, n, name in end) for end in ends)
        )
    table.caption = "accuracy in percent, name, number of samples"
    return table


def temperature_table(model: str, fitted: Mapping[str, Any], scores: Scores) -> Table:
    """ECE as it is and at the fitted temperature.

    Args:
        model: its name.
        fitted: as computed by :class:`tracer_lightning.evaluation.temperature.TemperatureScaling`.
        scores: of the same model.
    """
    title = f"{model}: temperature {fitted['temperature']:.3f}, fitted on {fitted['fitted_on']}"
    table = Table("data set", "ECE", "at this temperature", title=title, box=box.SIMPLE, pad_edge=False)
    for data_set, ece in fitted["ece"].items():
        table.add_row(data_set, _percent(scores[data_set]["ece"]), _percent(ece))
    return table
