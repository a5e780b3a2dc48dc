"""Rendering of the page that compares runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tracer_lightning.reporting.comparison import Comparison, ComparisonRow, ResultKey, select_results
from tracer_lightning.reporting.comparison_page.curves import CurvePanels
from tracer_lightning.reporting.comparison_page.groups import Groups
from tracer_lightning.reporting.comparison_page.scatter import Scatters
from tracer_lightning.reporting.model_choices import ZERO_SHOT
from tracer_lightning.reporting.report.templates import template_environment
from tracer_lightning.reporting.runs import Run
from tracer_lightning.reporting.settings import format_value, title
from tracer_lightning.reporting.tables import (
    GAINS,
    MISSING,
    TableColumn,
    TableSection,
    columns_by_metric,
    gains_block,
    tag_columns,
    untrained_name,
)
from tracer_lightning.reporting.tables import title as caption
from tracer_lightning.scores import ROLE_TITLES
from tracer_lightning.storage.run_layout import REPORT

MAX_CELLS = 40_000
"""Largest number of results in the table; where there are more, it has those of the headline sets and metrics."""


class PageColumn(NamedTuple):
    """Column of the table."""

    title: str
    cells: Sequence[str]
    role: str = ""
    """Displayed role of the data set; empty for averages and other columns."""


class ColumnGroup(NamedTuple):
    """Columns that are shown and hidden together."""

    title: str
    columns: Sequence[PageColumn]
    is_shown: bool
    """Whether they are shown at first."""
    is_text: bool = False
    """Whether they hold texts rather than numbers."""


class RunLink(NamedTuple):
    """Link to the report of a run."""

    seed: int
    folder: str
    target: str | None
    """Address relative to the page; None if the run has no report."""


class PageRow(NamedTuple):
    """Row of the table, before its results."""

    group: int
    label: str
    model: str
    runs: Sequence[RunLink]


def _columns(comparison: Comparison, keys: Sequence[ResultKey]) -> list[ColumnGroup]:
    """Tags, varied settings, results by metric, and changes against the model before training."""
    headline = {comparison.metric(name).title for name in comparison.headline_metrics}
    groups = [
        ColumnGroup(metric, [_result(comparison, column) for column in columns], metric in headline)
        for metric, columns in columns_by_metric(comparison, keys).items()
    ]
    if len(comparison.keys) > 1:
        groups.insert(0, ColumnGroup("settings", [_setting(comparison, key) for key in comparison.keys], False, True))
    if tags := tag_columns(comparison):
        groups.insert(0, ColumnGroup("tags", [PageColumn("tags", column.cells) for column in tags], True, True))
    changes = gains_block(comparison, 1)
    if changes is not None:
        untrained = [MISSING for row in comparison.rows if row.model == ZERO_SHOT]  # these rows come first
        columns = [
            PageColumn(
                column.title if column.title in GAINS.values() else f"{column.group} {column.title}",
                [*untrained, *column.cells],
            )
            for column in changes.columns
        ]
        groups.append(ColumnGroup(f"against {untrained_name(comparison)}", columns, True))
    return groups


def _result(comparison: Comparison, column: TableColumn) -> PageColumn:
    """Column of a data set, or of its published values."""
    role = ROLE_TITLES.get(comparison.roles[column.group], "")
    return PageColumn(f"{column.group} {column.title}".strip(), column.cells, role)


def _setting(comparison: Comparison, key: str) -> PageColumn:
    values = [format_value(key, row.settings.get(key) if row.seeds else None) for row in comparison.rows]
    return PageColumn(title(key), values)


def _row(number: int, row: ComparisonRow, folder: Path) -> PageRow:
    runs = sorted(row.runs, key=lambda run: run.seed)
    return PageRow(number, row.label, row.model.replace("_", "-"), [_link(run, folder) for run in runs])


def _link(run: Run, folder: Path) -> RunLink:
    report = run.folder / REPORT
    target = quote(Path(os.path.relpath(report, folder)).as_posix()) if report.is_file() else None
    return RunLink(run.seed, str(run.folder), target)


def render(
    comparison: Comparison,
    tables: Sequence[TableSection],
    scatters: Scatters,
    curves: CurvePanels,
    groups: Groups,
    folder: Path,
    files: Mapping[str, str],
) -> str:
    """Render the page as self-contained HTML, with a script of its own that sorts, filters and highlights.

    Args:
        comparison: rows of the table.
        tables: tables of the comparison, whose notes are shown.
        scatters: panels of scores on OOD and other sets against ID scores.
        curves: panels of training curves.
        groups: numbers and colours of the groups of runs.
        folder: folder of the page, which links are relative to.
        files: descriptions of the files next to the page, by name.
    """
    headline = comparison.headline_sets
    sets = [*headline, *(name for name in comparison.roles if name not in headline)]
    keys = select_results(comparison, sets, comparison.metrics)
    is_reduced = len(keys) * len(comparison.rows) > MAX_CELLS
    if is_reduced:
        keys = select_results(comparison, None, None)
    folders = {run.folder for row in comparison.rows for run in row.runs}
    return (
        template_environment(Path(__file__).parent)
        .get_template("comparison.html.j2")
        .render(
            title=caption(comparison),
            run_count=len(folders),
            rows=[_row(number, row, folder) for number, row in zip(groups.of_rows, comparison.rows, strict=True)],
            columns=_columns(comparison, keys),
            is_reduced=is_reduced,
            notes=[note for section in tables for note in section.notes],
            scatters=scatters,
            curves=curves,
            colours=groups.colours,
            files=files,
        )
    )
