"""Comparisons as tables of texts, independent of the output format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from tracer_lightning.reporting.comparison import Comparison, ComparisonRow, Measurement, ResultKey
from tracer_lightning.reporting.gains import (
    FORGETTING,
    GAIN,
    GAIN_ID,
    GAIN_OOD,
    GAIN_OTHER,
    GAINED_ROLES,
    TRAINED,
    gains,
)
from tracer_lightning.reporting.model_choices import ZERO_SHOT
from tracer_lightning.reporting.published import ECE, FREQUENCY_TABLE, NOTES, PER_BATCH, SOURCE
from tracer_lightning.reporting.published_value import PublishedValue
from tracer_lightning.reporting.settings import METHOD, label
from tracer_lightning.scores import Metric

NARROW = 6
"""Largest number of columns with which one table holds all metrics."""
MISSING = "–"
GAINS = {
    GAIN_ID: "ID gain",
    GAIN_OOD: "OOD gain",
    GAIN_OTHER: "other gain",
    FORGETTING: "forgetting",
    TRAINED: "trained",
}
"""Titles of the columns of the table against the model before training."""
SIGNIFICANT = 4
"""Significant digits of numbers that are not percentages."""
GAINS_NOTE = (
    "Each run against its own {untrained} {metric}{unit}, mean ± standard deviation (n − 1) over n seeds. Gain: "
    "{gain}, the mean over {roles} sets. Forgetting: max(0, {loss}), the mean over all sets but the ID ones. "
    "Trained: share of the parameters, in percent."
)


@dataclass(frozen=True)
class TableColumn:
    """A column of texts; neighbouring columns with the same group, such as a dataset, share its heading."""

    group: str
    title: str
    cells: Sequence[str]


@dataclass(frozen=True)
class TextTable:
    """A table whose rows have a label, a number of seeds, and a text in each column."""

    title: str
    rows: Sequence[tuple[str, str]]
    columns: Sequence[TableColumn]
    heading: str = "setting"
    """Heading of the column of labels."""

    def column_groups(self) -> list[list[TableColumn]]:
        """Neighbouring columns of the same group."""
        return [list(columns) for _, columns in groupby(self.columns, key=lambda column: column.group)]


class TableSection(NamedTuple):
    """Tables with the notes that apply to all of them."""

    tables: Sequence[TextTable]
    notes: Sequence[str]


def _percent(fraction: float, decimals: int, sign: str = "") -> str:
    """Format a fraction in percent; with the sign ``+`` positive numbers are signed, too."""
    number = round(100 * fraction, decimals) + 0.0  # no negative zero
    return f"{number:{sign}.{decimals}f}".replace("-", "−")


def format_number(value: float, metric: Metric, decimals: int, sign: str = "") -> str:
    """Format a value of a metric: in percent, or with significant digits.

    Args:
        value: the value, a fraction where the metric is shown in percent.
        metric: declaration of the metric.
        decimals: number of decimals in percent.
        sign: ``+`` to sign positive numbers, too.
    """
    if metric.percent:
        return _percent(value, decimals, sign)
    return f"{value:{sign}.{SIGNIFICANT}g}".replace("-", "−")


def format_measurement(cell: Measurement | None, metric: Metric, decimals: int, sign: str = "") -> str:
    """Mean and, of several values, standard deviation of a metric as text.

    Args:
        cell: the measurement; None where there is none.
        metric: declaration of the metric: shown in percent, or with significant digits.
        decimals: number of decimals in percent.
        sign: ``+`` to sign positive numbers, too.
    """
    if cell is None:
        return MISSING
    spread = "" if cell.std is None else f" ± {format_number(cell.std, metric, decimals)}"
    return f"{format_number(cell.mean, metric, decimals, sign)}{spread}"


def _published(cell: Measurement | None, decimals: int, mark: str, sign: str) -> tuple[str, str]:
    """Texts of the published value and the difference."""
    if cell is None or cell.published is None:
        return MISSING, MISSING
    difference = _percent(cell.mean - cell.published.value, decimals, "+")
    return f"{_percent(cell.published.value, decimals, sign)}{mark}", f"{difference}{mark}"


def _columns(comparison: Comparison, key: ResultKey, heading: str, decimals: int) -> Iterator[TableColumn]:
    """Yield the columns measured, published and difference, or only the first without published values."""
    cells = [row.cells.get(key) for row in comparison.rows]
    has_published = any(cell is not None and cell.published for cell in cells)
    yield TableColumn(
        key.data_set,
        "measured" if has_published else heading,
        [format_measurement(cell, comparison.metric(key.metric), decimals) for cell in cells],
    )
    if has_published:
        yield from _published_columns(key.data_set, cells, decimals, "†" if key.metric == ECE else "")


def _published_columns(
    group: str, cells: Sequence[Measurement | None], decimals: int, mark: str = "", sign: str = ""
) -> Iterator[TableColumn]:
    """Yield the columns of the published values and of the differences from them."""
    pairs = [_published(cell, decimals, mark, sign) for cell in cells]
    for name, texts in zip(("published", "diff."), zip(*pairs, strict=True), strict=True):
        yield TableColumn(group, name, texts)


def _shown_cells(comparison: Comparison, keys: Sequence[ResultKey]) -> list[tuple[ResultKey, Measurement]]:
    return [(key, row.cells[key]) for row in comparison.rows for key in keys if key in row.cells]


def _has_published(comparison: Comparison, keys: Sequence[ResultKey]) -> bool:
    """Whether any of the results has a published value."""
    return any(cell.published for _, cell in _shown_cells(comparison, keys))


def _row_heading(comparison: Comparison, row: ComparisonRow) -> tuple[str, str]:
    """Label of a row, with the model if several are shown, and its number of seeds."""
    several = len({shown.model for shown in comparison.rows} - {ZERO_SHOT}) > 1
    return f"{row.label} ({row.model})" if several and row.seeds else row.label, str(len(row.seeds) or "")


def title(comparison: Comparison) -> str:
    """Names of the experiments and, if it is the same for all rows, the method."""
    methods = {row.settings.get(METHOD) for row in comparison.rows}
    method = [label(comparison.rows[0].settings, [METHOD])] if len(methods) == 1 and comparison.keys else []
    return ", ".join([*comparison.names, *method])


def _sources(published: Sequence[PublishedValue]) -> str:
    """Sentence that says in which tables of which papers the values were published."""
    papers = []
    for source in dict.fromkeys(value.source for value in published):
        tables = sorted({value.table for value in published if value.source == source})
        papers.append(f"Table{'s' if len(tables) > 1 else ''} {', '.join(map(str, tables))} of {source}")
    return f"Published: {', '.join(papers)}. Diff.: measured less published, in points."


def notes(comparison: Comparison, keys: Sequence[ResultKey]) -> list[str]:
    """Notes that explain the numbers to a reader."""
    cells = _shown_cells(comparison, keys)
    published = [(key, cell.published) for key, cell in cells if cell.published]
    unit = ", in percent" if all(comparison.metric(key.metric).percent for key in keys) else ""
    lines = [f"Mean ± standard deviation (n − 1) over n seeds{unit}."]
    if published:
        lines.append(_sources([value for _, value in published]))
        lines += [NOTES[ECE]] if any(key.metric == ECE for key, _ in published) else []
        tables = {value.table for _, value in published if value.source == SOURCE}
        lines += [NOTES[FREQUENCY_TABLE]] if FREQUENCY_TABLE in tables else []
    lines += [NOTES[PER_BATCH]] if any(key.metric == PER_BATCH for key in keys) else []
    return lines


def tag_columns(comparison: Comparison) -> list[TableColumn]:
    """Column of the tags; none where no run has any."""
    cells = [", ".join(row.tags) for row in comparison.rows]
    return [TableColumn("", "tags", cells)] if any(cells) else []


def blocks(comparison: Comparison, keys: Sequence[ResultKey]) -> list[TextTable]:
    """One table, or one for each metric if there are published values or many columns.

    Args:
        comparison: the comparison whose rows become the tables' rows.
        keys: results to show, sorted by metric.
    """
    rows = [_row_heading(comparison, row) for row in comparison.rows]
    has_published = _has_published(comparison, keys)
    decimals = 2 if has_published else 1
    caption, tags = title(comparison), tag_columns(comparison)
    if not has_published and len(keys) <= NARROW:
        sets = dict.fromkeys(key.data_set for key in keys)
        by_set = [key for name in sets for key in keys if key.data_set == name]
        columns = [_columns(comparison, key, comparison.metric(key.metric).title, decimals) for key in by_set]
        return [TextTable(caption, rows, [*tags, *(column for group in columns for column in group)])]
    tables = []
    for metric, metric_keys in groupby(keys, key=lambda key: key.metric):
        columns = [_columns(comparison, key, "", decimals) for key in metric_keys]
        name = comparison.metric(metric).title
        cells = [column for group in columns for column in group]
        tables.append(TextTable(f"{caption}: {name}", rows, [*tags, *cells]))
    return tables


def columns_by_metric(comparison: Comparison, keys: Sequence[ResultKey]) -> dict[str, list[TableColumn]]:
    """Columns of the results by title of their metric, each titled with its data set.

    Args:
        comparison: the comparison whose rows become the columns' cells.
        keys: results to show, sorted by metric.
    """
    decimals = 2 if _has_published(comparison, keys) else 1
    columns: dict[str, list[TableColumn]] = {}
    for key in keys:
        columns.setdefault(comparison.metric(key.metric).title, []).extend(_columns(comparison, key, "", decimals))
    return columns


def gains_block(comparison: Comparison, decimals: int) -> TextTable | None:
    """Table of the changes against zero-shot for all other rows; None if no run has zero-shot scores.

    Args:
        comparison: the comparison whose rows become the table's rows.
        decimals: decimals of accuracies; the trained share has two, as adapters are small.
    """
    rows = [row for row in comparison.rows if row.model != ZERO_SHOT]
    results = [gains(row) for row in rows]
    changes = [{key.metric: cell for key, cell in cells.items() if key.metric != GAIN} for cells in results]
    if not any(cells.keys() - {TRAINED} for cells in changes):
        return None
    columns = []
    primary, heading_of_gains = comparison.gained[0], _gained_titles(comparison)
    share = Metric(TRAINED, "parameters", "")
    has_other = any(GAIN_OTHER in cells for cells in changes)
    for name, heading in GAINS.items():
        if name == GAIN_OTHER and not has_other:
            continue
        metric, digits = (share, 2) if name == TRAINED else (primary, decimals)
        sign = "+" if name in GAINED_ROLES else ""
        texts = [format_measurement(cells.get(name), metric, digits, sign) for cells in changes]
        columns.append(TableColumn(share.title if name == TRAINED else heading_of_gains, heading, texts))
    for key in dict.fromkeys(key for cells in results for key in cells if key.metric == GAIN):
        shown = [cells.get(key) for cells in results]
        texts = [format_measurement(cell, primary, decimals, "+") for cell in shown]
        columns += [
            TableColumn(key.data_set, "gain", texts),
            *_published_columns(key.data_set, shown, decimals, sign="+"),
        ]
    return TextTable(
        f"{title(comparison)}: against {untrained_name(comparison)}",
        [_row_heading(comparison, row) for row in rows],
        columns,
    )


def _gains_notes(comparison: Comparison) -> list[str]:
    primary, untrained = comparison.gained[0], untrained_name(comparison)
    higher = primary.better == "higher"
    gain, loss = f"after − {untrained}", f"{untrained} − after"
    note = GAINS_NOTE.format(
        untrained=untrained,
        metric=_gained_titles(comparison),
        unit=", in points" if primary.percent else "",
        gain=gain if higher else loss,
        loss=loss if higher else gain,
        roles="ID, OOD or other" if "other" in comparison.roles.values() else "ID or OOD",
    )
    published = [cell.published for row in comparison.rows for cell in gains(row).values() if cell.published]
    return [note, _sources(published)] if published else [note]


def _gained_titles(comparison: Comparison) -> str:
    """Titles of the metrics whose changes are gains."""
    return " or ".join(metric.title for metric in comparison.gained)


def untrained_name(comparison: Comparison) -> str:
    """Name of the model before training."""
    return next((run.untrained for row in comparison.rows for run in row.runs), "zero-shot")


def sections(comparison: Comparison, keys: Sequence[ResultKey]) -> list[TableSection]:
    """Tables of the results and, if known, of the gains, each with its notes."""
    gain_table = gains_block(comparison, 2 if _has_published(comparison, keys) else 1)
    results = TableSection(blocks(comparison, keys), notes(comparison, keys))
    return [results, TableSection([gain_table], _gains_notes(comparison))] if gain_table else [results]
