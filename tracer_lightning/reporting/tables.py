"""Comparisons as tables of texts, to be written in any form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from tracer_lightning.reporting.comparison import ZERO_SHOT, Cell, Comparison, Place, Row
from tracer_lightning.reporting.gains import FORGETTING, GAIN_ID, GAIN_OOD, TRAINED, gains
from tracer_lightning.reporting.published import ACCURACY, ECE, FREQUENCY_TABLE, NOTES, PER_BATCH, SOURCE
from tracer_lightning.reporting.settings import METHOD, label

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
GAINS = {
    GAIN_ID: ("accuracy", "ID gain"),
    GAIN_OOD: ("accuracy", "OOD gain"),
    FORGETTING: ("accuracy", "forgetting"),
    TRAINED: ("parameters", "trained"),
}
"""Columns against zero-shot: what they are of, and their names."""
GAINS_NOTE = (
    "Each run against its own zero-shot accuracy, in points, mean ± standard deviation (n − 1) over n seeds. Gain: "
    "after − zero-shot, the mean over ID or OOD sets. Forgetting: max(0, zero-shot − after), the mean over all sets "
    "but the ID ones. Trained: share of the parameters, in percent."
)


@dataclass(frozen=True)
class Column:
    """A column of texts; neighbours with the same above, such as a data set, stand together under it."""

    above: str
    head: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Block:
    """One table: for every row its label, its number of seeds, and a text in each column."""

    title: str
    rows: Sequence[tuple[str, str]]
    columns: Sequence[Column]

    def together(self) -> list[list[Column]]:
        """Columns that stand together."""
        return [list(columns) for _, columns in groupby(self.columns, key=lambda column: column.above)]


class Section(NamedTuple):
    """Tables, and notes on all of them."""

    tables: Sequence[Block]
    notes: Sequence[str]


def _percent(fraction: float, decimals: int, sign: str = "") -> str:
    """With sign ``+`` all numbers are signed."""
    number = round(100 * fraction, decimals) + 0.0  # no negative zero
    return f"{number:{sign}.{decimals}f}".replace("-", "−")


def _measured(cell: Cell | None, decimals: int, sign: str = "") -> str:
    if cell is None:
        return MISSING
    spread = "" if cell.std is None else f" ± {_percent(cell.std, decimals)}"
    return f"{_percent(cell.mean, decimals, sign)}{spread}"


def _published(cell: Cell | None, decimals: int, mark: str) -> tuple[str, str]:
    """The published value and the difference."""
    if cell is None or cell.published is None:
        return MISSING, MISSING
    difference = _percent(cell.mean - cell.published.value, decimals, "+")
    return f"{_percent(cell.published.value, decimals)}{mark}", f"{difference}{mark}"


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


def _beside(comparison: Comparison, places: Sequence[Place]) -> bool:
    """Whether published values stand beside."""
    return any(cell.published for _, cell in _shown_cells(comparison, places))


def _heads(comparison: Comparison, row: Row) -> tuple[str, str]:
    """Its label, with the model where several are shown, and its number of seeds."""
    several = len({one.model for one in comparison.rows} - {ZERO_SHOT}) > 1
    return f"{row.label} ({row.model})" if several and row.seeds else row.label, str(len(row.seeds) or "")


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
    rows = [_heads(comparison, row) for row in comparison.rows]
    beside = _beside(comparison, places)
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


def gains_block(comparison: Comparison, decimals: int) -> Block | None:
    """What training changed against zero-shot, for all rows but zero-shot ones; None where no run has zero-shot scores.

    Args:
        comparison: its rows become rows.
        decimals: of accuracies; the share has two, as adapters are small.
    """
    rows = [row for row in comparison.rows if row.model != ZERO_SHOT]
    found = [{place.metric: cell for place, cell in gains(row).items()} for row in rows]
    if not any(cells.keys() - {TRAINED} for cells in found):
        return None
    columns = []
    for metric, (above, head) in GAINS.items():
        digits = 2 if metric == TRAINED else decimals
        sign = "+" if metric in (GAIN_ID, GAIN_OOD) else ""
        columns.append(Column(above, head, [_measured(cells.get(metric), digits, sign) for cells in found]))
    return Block(f"{title(comparison)}: against zero-shot", [_heads(comparison, row) for row in rows], columns)


def sections(comparison: Comparison, places: Sequence[Place]) -> list[Section]:
    """The tables of results and, where it is known, the one of gains, each with its notes."""
    gained = gains_block(comparison, 2 if _beside(comparison, places) else 1)
    results = Section(blocks(comparison, places), notes(comparison, places))
    return [results, Section([gained], [GAINS_NOTE])] if gained else [results]
