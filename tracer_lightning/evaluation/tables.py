"""Results on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from tracer_lightning.evaluation.suite import AVERAGE, Scores

TITLES = {"zero_shot": "before (zero-shot)", "student": "student", "teacher": "teacher"}


def results_table(title: str, results: Mapping[str, Scores | None]) -> Table:
    """Accuracy, ECE and macro-F1 of every model on every data set.

    Args:
        title: above the table.
        results: ``zero_shot``, ``student`` and ``teacher`` to their scores, None where there is no such model.
    """
    models = {name: scores for name, scores in results.items() if scores}
    table = Table(title=title, caption="acc: accuracy in percent; ECE and macro-F1 in percent")
    for column in ("data set", "role", "n"):
        table.add_column(column, justify="right" if column == "n" else "left")
    for name in models:
        for metric in ("acc", "ECE", "F1"):
            table.add_column(f"{TITLES[name]}\n{metric}", justify="right")
    first = next(iter(models.values()))
    for data_set, values in first.items():
        average = data_set == AVERAGE
        if average:
            table.add_section()
        cells = ["mean of OOD", "", ""] if average else [data_set, values["role"], str(values["n"])]
        for scores in models.values():
            cells += [f"{100 * scores[data_set][metric]:.1f}" for metric in ("accuracy", "ece", "macro_f1")]
        table.add_row(*cells, style="bold" if average else None)
    return table
