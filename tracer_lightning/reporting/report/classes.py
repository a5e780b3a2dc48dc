"""Classes with the lowest accuracy, and those that changed most."""

from __future__ import annotations

from typing import NamedTuple

from tracer_lightning.reporting.report.numbers import ScoreChange, change, percent
from tracer_lightning.reporting.report.record import RunRecord
from tracer_lightning.reporting.report.results import sets_of

MAX_CLASSES = 10
"""Largest number of classes in a list."""


class ClassRow(NamedTuple):
    """Accuracy on one class of one dataset, in [0, 1]."""

    data_set: str
    label: str
    n: int
    """Number of samples."""
    before: float
    """Accuracy before training."""
    after: float
    """Accuracy of the student."""

    @property
    def change(self) -> ScoreChange | None:
        """Change of accuracy by training."""
        return change(self.before, self.after)

    @property
    def texts(self) -> tuple[str, str]:
        """Accuracies before and after training, in percent."""
        return percent(self.before), percent(self.after)


class ClassLists(NamedTuple):
    """Lists of classes of one dataset, or of all."""

    title: str
    total: int
    """Number of tested classes."""
    lists: dict[str, list[ClassRow]]
    """Classes by the title of the list."""
    all_sets: bool = False
    """Whether the lists mix classes of several datasets."""


def classes_of(record: RunRecord, name: str) -> list[ClassRow]:
    """Classes of a dataset that have samples."""
    before, after = (record.details[model][name]["classes"] for model in ("zero_shot", "student"))
    counts = zip(record.labels[name], after["n"], before["correct"], after["correct"], strict=True)
    return [ClassRow(name, label, n, b / n, a / n) for label, n, b, a in counts if n]


def _worst(rows: list[ClassRow]) -> list[ClassRow]:
    return sorted(rows, key=lambda row: (row.after, -row.n))[:MAX_CLASSES]


def _moved(rows: list[ClassRow], sign: int) -> list[ClassRow]:
    """Classes that gained most (``sign`` 1) or lost most (-1)."""
    moved = [row for row in rows if sign * (row.after - row.before) > 0]
    return sorted(moved, key=lambda row: (-sign * (row.after - row.before), -row.n))[:MAX_CLASSES]


def class_lists(record: RunRecord, names: list[str]) -> list[ClassLists]:
    """Lists for all datasets together, then for each; empty unless zero-shot model and student were tested.

    Args:
        record: the run.
        names: names of the datasets to show.
    """
    if not {"zero_shot", "student"} <= set(record.details):
        return []
    classified = [name for name, details in record.details["student"].items() if "classes" in details]
    if not classified:
        return []
    classes = {
        name: classes_of(record, name) for names in sets_of(record).values() for name in names if name in classified
    }
    all_classes = [row for rows in classes.values() for row in rows]
    groups = []
    if len(classes) > 1:
        lists = {"Lost most": _moved(all_classes, -1), "Gained most": _moved(all_classes, 1)}
        groups.append(ClassLists("All data sets", len(all_classes), lists, all_sets=True))
    for name in names:
        if name not in classes:
            continue
        rows = classes[name]
        if len(rows) <= MAX_CLASSES:
            lists = {"All classes, worst first": _worst(rows)}
        else:
            lists = {"Worst": _worst(rows), "Best": sorted(rows, key=lambda row: (-row.after, -row.n))[:MAX_CLASSES]}
            lists |= {"Lost most": _moved(rows, -1), "Gained most": _moved(rows, 1)}
        groups.append(ClassLists(name, len(rows), lists))
    return groups
