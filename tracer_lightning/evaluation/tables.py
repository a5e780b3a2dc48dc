"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from tracer_lightning.evaluation.suite import AVERAGE, Scores

TITLES = {"zero_shot": "zero-shot", "student": "student", "teacher": "teacher"}
METRICS = {"accuracy": "  acc", "ece": " ECE", "macro_f1": "   F1"}
"""Metrics and the heads of their columns."""


def _cell(values: Mapping[str, Any], metrics: Sequence[str]) -> str:
    return " ".join(f"{100 * values[metric]:{len(METRICS[metric])}.1f}" for metric in metrics)


def results_table(title: str, results: Mapping[str, Scores | None], headline: str = "accuracy") -> Table:
    """Accuracy, ECE and macro-F1 of every model on every data set, 80 columns wide.

    Args:
        title: above the table.
        results: ``zero_shot``, ``student`` and ``teacher`` to their scores, None where there is no such model.
        headline: metric that comes first.
    """
    metrics = sorted(METRICS, key=lambda metric: metric != headline)
    header = " ".join(METRICS[metric] for metric in metrics)
    models = {name: scores for name, scores in results.items() if scores}
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    table.caption = "accuracy, ECE and macro-F1 in percent; zero-shot: before training"
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
    return table
