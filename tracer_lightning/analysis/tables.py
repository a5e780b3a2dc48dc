"""Comparisons as tables of texts, to be written in any form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from tracer_lightning.analysis.comparison import ZERO_SHOT, Cell, Comparison, Place
from tracer_lightning.analysis.paper import ACCURACY, ECE, FREQUENCY_TABLE, NOTES, PER_BATCH, SOURCE
from tracer_lightning.analysis.settings import METHOD, label

METRICS = {
    ACCURACY: "accuracy",
    ECE: "ECE",
    PER_BATCH: "ECE per batch",
    "macro_f1": "macro-F1",
    "accuracy_top5": "top-5 accuracy",
}
NARROW = 6
"""Columns up to which one table holds all metrics."""
MISSING = "–"


@dataclass(frozen=True)
class Column:
    """A column of texts; neighbours of one data set stand together under its name."""

    data_set: str
    head: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Block:
    """One table: for every row its label, its number of seeds, and a text in each column."""

    title: str
    rows: Sequence[tuple[str, str]]
    columns: Sequence[Column]

    def by_data_set(self) -> list[list[Column]]:
        """Columns that stand together."""
        return [list(columns) for _, columns in groupby(self.columns, key=lambda column: column.data_set)]


def _measured(cell: Cell | None, decimals: int) -> str:
    if cell is None:
        return MISSING
    spread = "" if cell.std is None else f" ± {100 * cell.std:.{decimals}f}"
    return f"{100 * cell.mean:.{decimals}f}{spread}"


def _published(cell: Cell | None, decimals: int, mark: str) -> tuple[str, str]:
    """The published value and the difference."""
    if cell is None or cell.published is None:
        return MISSING, MISSING
    difference = round(100 * (cell.mean - cell.published.value), decimals) + 0.0  # no negative zero
    return f"{100 * cell.published.value:.{decimals}f}{mark}", f"{difference:+.{decimals}f}{mark}".replace("-", "−")


def _columns(comparison: Comparison, place: Place, head: str, decimals: int) -> Iterator[Column]:
    """Measured, published and difference, or the first alone."""
    cells = [row.cells.get(place) for row in comparison.rows]
    beside = any(cell is not None and cell.published for cell in cells)
    yield Column(place.data_set, "measured" if beside else head, [_measured(cell, decimals) for cell in cells])
    if beside:
        pairs = [_published(cell, decimals, "†" if place.metric == ECE else "") for cell in cells]
        for name, texts in zip(("published", "diff."), zip(*pairs, strict=True), strict=True):
            yield Column(place.data_set, name, texts)


def _shown_cells(comparison: Comparison, places: Sequence[Place]) -> list[tuple[Place, Cell]]:
    return [(place, row.cells[place]) for row in comparison.rows for place in places if place in row.cells]


def title(comparison: Comparison) -> str:
    """Experiments and, where it is the same for all rows, the method."""
    methods = {row.settings.get(METHOD) for row in comparison.rows}
    same = [label(comparison.rows[0].settings, [METHOD])] if len(methods) == 1 and comparison.keys else []
    return ", ".join([*comparison.names, *same])


def notes(comparison: Comparison, places: Sequence[Place]) -> list[str]:
    """What a reader must know about the numbers."""
    cells = _shown_cells(comparison, places)
    published = [(place, cell.published) for place, cell in cells if cell.published]
    lines = ["Mean ± standard deviation (n − 1) over n seeds, in percent."]
    if published:
        tables = sorted({found.table for _, found in published})
        numbers = f"Table{'s' if len(tables) > 1 else ''} {', '.join(map(str, tables))}"
        lines.append(f"Published: {numbers} of {SOURCE}. Diff.: measured less published, in points.")
        lines += [NOTES[ECE]] if any(place.metric == ECE for place, _ in published) else []
        lines += [NOTES[FREQUENCY_TABLE]] if FREQUENCY_TABLE in tables else []
    lines += [NOTES[PER_BATCH]] if any(place.metric == PER_BATCH for place in places) else []
    return lines


def blocks(comparison: Comparison, places: Sequence[Place]) -> list[Block]:
    """One table, or one for each metric where values are published or columns are many.

    Args:
        comparison: its rows become rows.
        places: what to show, sorted by metric.
    """
    several = len({row.model for row in comparison.rows} - {ZERO_SHOT}) > 1
    names = [f"{row.label} ({row.model})" if several and row.seeds else row.label for row in comparison.rows]
    rows = [(name, str(len(row.seeds) or "")) for name, row in zip(names, comparison.rows, strict=True)]
    beside = any(cell.published for _, cell in _shown_cells(comparison, places))
    decimals = 2 if beside else 1
    about = title(comparison)
    if not beside and len(places) <= NARROW:
        sets = dict.fromkeys(place.data_set for place in places)
        of_sets = [place for name in sets for place in places if place.data_set == name]
        columns = [_columns(comparison, place, METRICS.get(place.metric, place.metric), decimals) for place in of_sets]
        return [Block(about, rows, [column for group in columns for column in group])]
    found = []
    for metric, of_metric in groupby(places, key=lambda place: place.metric):
        columns = [_columns(comparison, place, "", decimals) for place in of_metric]
        name = METRICS.get(metric, metric)
        found.append(Block(f"{about}: {name}", rows, [column for group in columns for column in group]))
    return found
