"""Which classes are recognised worst, and which changed most."""

from __future__ import annotations

from typing import NamedTuple

from tracer_lightning.reporting.report.numbers import Change, change, percent
from tracer_lightning.reporting.report.record import RunRecord
from tracer_lightning.reporting.report.results import sets_of

SHOWN = 10


class ClassRow(NamedTuple):
    """One class of one data set, of the student."""

    data_set: str
    label: str
    n: int
    before: float
    """Accuracy before training, in [0, 1]."""
    after: float

    @property
    def change(self) -> Change | None:
        """Of accuracy."""
        return change(self.before, self.after)

    @property
    def texts(self) -> tuple[str, str]:
        """Both accuracies in percent."""
        return percent(self.before), percent(self.after)


class ClassLists(NamedTuple):
    """Classes of one data set, or of several."""

    title: str
    total: int
    """How many classes were tested."""
    lists: dict[str, list[ClassRow]]
    across: bool = False
    """Whether they are of several data sets."""


def classes_of(record: RunRecord, name: str) -> list[ClassRow]:
    """All classes of a data set that it has samples of."""
    before, after = (record.details[model][name]["classes"] for model in ("zero_shot", "student"))
    counts = zip(record.labels[name], after["n"], before["correct"], after["correct"], strict=True)
    return [ClassRow(name, label, n, b / n, a / n) for label, n, b, a in counts if n]


def _worst(rows: list[ClassRow]) -> list[ClassRow]:
    return sorted(rows, key=lambda row: (row.after, -row.n))[:SHOWN]


def _moved(rows: list[ClassRow], sign: int) -> list[ClassRow]:
    """Those that gained most (``sign`` 1) or lost most (-1)."""
    moved = [row for row in rows if sign * (row.after - row.before) > 0]
    return sorted(moved, key=lambda row: (-sign * (row.after - row.before), -row.n))[:SHOWN]


def class_lists(record: RunRecord, names: list[str]) -> list[ClassLists]:
    """For all data sets together, then for each; nothing unless there are a before and an after.

    Args:
        record: the run.
        names: the data sets to show.
    """
    if not {"zero_shot", "student"} <= set(record.details):
        return []
    every = {name: classes_of(record, name) for names in sets_of(record).values() for name in names}
    together = [row for rows in every.values() for row in rows]
    found = []
    if len(every) > 1:
        lists = {"Lost most": _moved(together, -1), "Gained most": _moved(together, 1)}
        found.append(ClassLists("All data sets", len(together), lists, across=True))
    for name in names:
        rows = every[name]
        if len(rows) <= SHOWN:
            lists = {"All classes, worst first": _worst(rows)}
        else:
            lists = {"Worst": _worst(rows), "Best": sorted(rows, key=lambda row: (-row.after, -row.n))[:SHOWN]}
            lists |= {"Lost most": _moved(rows, -1), "Gained most": _moved(rows, 1)}
        found.append(ClassLists(name, len(rows), lists))
    return found
