"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from tracer_lightning.evaluation.suite import AVERAGE, Scores

TITLES = {"zero_shot": "zero-shot", "student": "student", "teacher": "teacher"}
HEADER = f"{'acc':>5} {'ECE':>4} {'F1':>5}"


def _cell(values: Mapping[str, Any]) -> str:
    return f"{100 * values['accuracy']:5.1f} {100 * values['ece']:4.1f} {100 * values['macro_f1']:5.1f}"


def results_table(title: str, results: Mapping[str, Scores | None]) -> Table:
    """Accuracy, ECE and macro-F1 of every model on every data set, 80 columns wide.

    Args:
        title: above the table.
        results: ``zero_shot``, ``student`` and ``teacher`` to their scores, None where there is no such model.
    """
    models = {name: scores for name, scores in results.items() if scores}
    table = Table(title=title, box=box.SIMPLE, collapse_padding=True, pad_edge=False)
    table.caption = "accuracy, ECE and macro-F1 in percent; zero-shot: before training"
    table.add_column("data set", no_wrap=True)
    table.add_column("role", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    for name in models:
        table.add_column(f"{TITLES.get(name, name):^16}\n{HEADER}", no_wrap=True)
    for data_set, values in next(iter(models.values())).items():
        if data_set == AVERAGE:
            table.add_section()
            table.add_row("mean", "ood", "", *(_cell(scores[AVERAGE]) for scores in models.values()), style="bold")
        else:
            cells = (_cell(scores[data_set]) for scores in models.values())
            table.add_row(data_set, values["role"], str(values["n"]), *cells)
    return table
