"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from tracer_lightning.evaluation.metrics import Details
from tracer_lightning.evaluation.suite import AVERAGE, WITH_NEIGHBOURS, Scores

TITLES = {"zero_shot": "zero-shot", "student": "student", "teacher": "teacher"}
METRICS = {"accuracy": "  acc", "ece": " ECE", "macro_f1": "   F1"}
"""Metrics and the heads of their columns."""
ALL = {**METRICS, "accuracy_top5": " top5", "ece_per_batch": " ECE/batch"}
SHOWN = 3
"""Classes at either end."""


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _cell(values: Mapping[str, Any], metrics: Sequence[str]) -> str:
    texts = {metric: _percent(values[metric]) if metric in values else "" for metric in metrics}
    return " ".join(f"{text:>{len(ALL[metric])}}" for metric, text in texts.items())


def results_table(
    title: str, results: Mapping[str, Scores | None], headline: str = "accuracy", shown: Mapping[str, str] = METRICS
) -> Table:
    """Accuracy, ECE and macro-F1 of every model on every data set, 80 columns wide.

    Args:
        title: above the table.
        results: ``zero_shot``, ``student`` and ``teacher`` to their scores, None where there is no such model.
        headline: metric that comes first.
        shown: metrics to show, with the heads of their columns.
    """
    metrics = sorted(shown, key=lambda metric: metric != headline)
    header = " ".join(shown[metric] for metric in metrics)
    models = {name: scores for name, scores in results.items() if scores}
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    before = "; zero-shot: before training" if "zero_shot" in models else ""
    table.caption = f"accuracy, ECE and macro-F1 in percent{before}"
    table.add_column("data set", no_wrap=True)
    table.add_column("role", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name in models:
        table.add_column(f"{TITLES.get(name, name):^16}\n{header}", no_wrap=True)
    for name, values in next(iter(models.values())).items():
        cells = [_cell(scores[name], metrics) for scores in models.values()]
        if "sets" in values:
            table.add_section()
            label = ("mean", "ood") if name == AVERAGE else (name, "mean")
            table.add_row(*label, "", *cells, style="bold")
        else:
            table.add_row(name, values["role"], str(values["n"]), *cells)
        if WITH_NEIGHBOURS in values:
            pm10 = (_cell({"accuracy": scores[name][WITH_NEIGHBOURS]}, metrics) for scores in models.values())
            table.add_row("  with neighbours", "", "", *pm10)
    return table


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


def temperature_table(model: str, found: Mapping[str, Any], scores: Scores) -> Table:
    """ECE as it is and at the fitted temperature.

    Args:
        model: its name.
        found: as computed by :class:`tracer_lightning.evaluation.temperature.TemperatureScaling`.
        scores: of the same model.
    """
    title = f"{model}: temperature {found['temperature']:.3f}, fitted on {found['fitted_on']}"
    table = Table("data set", "ECE", "at this temperature", title=title, box=box.SIMPLE, pad_edge=False)
    for data_set, ece in found["ece"].items():
        table.add_row(data_set, _percent(scores[data_set]["ece"]), _percent(ece))
    return table
