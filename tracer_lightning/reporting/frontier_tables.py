"""Tables and CSV of trade-offs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.frontier import (
    ALPHA,
    DOSE,
    ID,
    LEVEL_TOLERANCE,
    FrontierPoint,
    Frontiers,
    best_at,
    group_title,
    id_levels,
    picked_by_validation,
)
from tracer_lightning.reporting.frontier_bootstrap import COVERAGE, REPLICATES, Bootstrap, Estimate
from tracer_lightning.reporting.tables import MISSING, TableColumn, TableSection, TextTable

SERIES = "series"
INTERVALS = (
    f"Brackets: {COVERAGE:.0%} bootstrap intervals over seeds (drawn together for all settings) and test samples, "
    f"{REPLICATES:,} replicates; with n = 1 over test samples only. Too narrow for means over sets of the same images."
)
ON_TEST_SETS = (
    "Settings are picked on the test sets here: fronts show what is possible, not what a validation set would have "
    "picked."
)
FRONT = (
    "On front: settings with no other of the series at least as good on both sides and better on one. Area: dominated "
    "by the front, in squared percentage points, above {reference} (ID {score} before training, and the smallest mean "
    "of all settings elsewhere)."
)
AT_LEVEL = (
    f"Best mean of settings with the given ID {{score}}, less at most {100 * LEVEL_TOLERANCE:g} points, and their "
    "dose (learning rate, strength, weight or alpha, those that vary within the series); – where a series does not "
    "reach it. Intervals are those of the setting shown."
)
VALIDATED = (
    "The setting of each series with the best mean {score} in the last validation (val.), in percent. Teachers have "
    "the validation scores of their students."
)
GENERAL_SETS = "general: questions that are not trained, about OOD images."
UNCHANGED = "Left out, as they score like the model before training: {series}."
UNVALIDATED = "Left out, for lack of scores on a validation split that is not tested on: {series}."


def _percent(fraction: float) -> str:
    return MISSING if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _with_interval(estimate: Estimate, scale: float = 100.0) -> str:
    value, low, high = (f"{scale * number:.1f}" for number in estimate)
    return f"{value} [{low}, {high}]"


def _count_seeds(points: Sequence[FrontierPoint]) -> str:
    counts = {len(point.seeds) for point in points}
    return "–".join(map(str, dict.fromkeys((min(counts), max(counts)))))


def _rows(frontiers: Frontiers) -> list[tuple[str, str]]:
    return [(series.label, _count_seeds(series.points)) for series in frontiers.series]


def _title(frontiers: Frontiers, subject: str) -> str:
    return f"{', '.join(frontiers.names)}: {subject}"


def _dose(point: FrontierPoint | None) -> str:
    return MISSING if point is None else point.label or MISSING


def _area_columns(frontiers: Frontiers, bootstrap: Bootstrap) -> Iterator[TableColumn]:
    yield TableColumn("", "settings", [str(len(series.points)) for series in frontiers.series])
    for role in frontiers.roles:
        group = f"ID and {group_title(role)}"
        yield TableColumn(group, "on front", [str(len(series.front(role))) for series in frontiers.series])
        areas = [_with_interval(area, scale=1e4) for area in bootstrap.areas(role)]
        yield TableColumn(group, "area", areas)


def _level_columns(
    frontiers: Frontiers, bootstrap: Bootstrap, level: float, group: str, headings: tuple[str, str]
) -> Iterator[TableColumn]:
    """Columns of the best setting at a level of ID scores by its score on a group of sets."""
    points = [best_at(series, level, group) for series in frontiers.series]
    cells = [MISSING if point is None else _with_interval(bootstrap.mean(point, group)) for point in points]
    yield TableColumn(*headings, cells)
    yield TableColumn(headings[0], "dose", [_dose(point) for point in points])


def _grid_section(frontiers: Frontiers, bootstrap: Bootstrap) -> TableSection:
    """Table of means at equal ID score on the cells of the grid that are not trained on, and on ``general``."""
    score = frontiers.titles[ID]
    columns: list[TableColumn] = []
    for cell, level in product(frontiers.cells, id_levels(frontiers.series)):
        headings = (group_title(cell), f"at ID {_percent(level)}")
        columns += _level_columns(frontiers, bootstrap, level, cell, headings)
    title = _title(frontiers, f"cells of the grid at equal ID {score}")
    notes = [GENERAL_SETS, AT_LEVEL.format(score=score), INTERVALS, ON_TEST_SETS]
    return TableSection([TextTable(title, _rows(frontiers), columns, SERIES)], notes)


def _validation_section(frontiers: Frontiers) -> TableSection | None:
    """Table of the settings that validation picks; None if no run was validated."""
    picks = [(series, picked_by_validation(series)) for series in frontiers.series]
    validated = [(series, point, point.validation) for series, point in picks if point and point.validation is not None]
    if not validated:
        return None
    rows = [(series.label, str(len(point.seeds))) for series, point, _ in validated]
    points = [point for _, point, _ in validated]
    columns = [
        TableColumn("", "dose", [_dose(point) for point in points]),
        TableColumn("", "val.", [_percent(accuracy) for _, _, accuracy in validated]),
        *(
            TableColumn(frontiers.titles[role], group_title(role), [_percent(point.mean(role)) for point in points])
            for role in (ID, *frontiers.roles)
        ),
        *(
            TableColumn("ECE", group_title(role), [_percent(point.eces[role]) for point in points])
            for role in (ID, *frontiers.roles)
            if not all(math.isnan(point.eces[role]) for point in points)
        ),
    ]
    missing = [series.label for series, point in picks if point is None]
    notes = [
        VALIDATED.format(score=frontiers.titles[ID]),
        *([UNVALIDATED.format(series=", ".join(missing))] if missing else []),
    ]
    return TableSection([TextTable(_title(frontiers, "picked by validation"), rows, columns, SERIES)], notes)


def frontier_sections(frontiers: Frontiers) -> list[TableSection]:
    """Tables of areas, of means at equal ID score, of a grid, and of settings picked by validation, each with notes."""
    bootstrap, score = Bootstrap(frontiers), frontiers.titles[ID]
    corners = [frontiers.reference(role) for role in frontiers.roles]
    coordinates = [(ID, corners[0][0]), *zip(frontiers.roles, [y for _, y in corners], strict=True)]
    reference = ", ".join(f"{group_title(role)} {_percent(accuracy)}" for role, accuracy in coordinates)
    unchanged = [UNCHANGED.format(series=", ".join(frontiers.unchanged))] if frontiers.unchanged else []
    areas = TextTable(
        _title(frontiers, "area under the front"),
        _rows(frontiers),
        list(_area_columns(frontiers, bootstrap)),
        SERIES,
    )
    level_columns: list[TableColumn] = []
    for level, role in product(id_levels(frontiers.series), frontiers.roles):
        headings = (group_title(role), f"at ID {_percent(level)}")
        level_columns += _level_columns(frontiers, bootstrap, level, role, headings)
    levels = TextTable(_title(frontiers, f"at equal ID {score}"), _rows(frontiers), level_columns, SERIES)
    validation = _validation_section(frontiers)
    return [
        TableSection([areas], [FRONT.format(reference=reference, score=score), *unchanged, INTERVALS, ON_TEST_SETS]),
        TableSection([levels], [AT_LEVEL.format(score=score), INTERVALS, ON_TEST_SETS]),
        *([_grid_section(frontiers, bootstrap)] if frontiers.cells else []),
        *([] if validation is None else [validation]),
    ]


def frontier_csv(frontiers: Frontiers) -> str:
    """CSV with a line for every setting of every series: unrounded fractions, empty where unknown."""
    groups = [*frontiers.roles, *frontiers.cells]
    fronts = [f"on_front_{group}" for group in groups]
    lines: list[Sequence[Any]] = [
        [SERIES, "model", *DOSE, ALPHA, "n", "seeds", ID, *groups, *fronts, "validation", "ece_id"],
    ]
    for series in frontiers.series:
        members = [set(series.front(group)) for group in groups]
        for point in series.points:
            dose = [point.dose.get(key) for key in (*DOSE, ALPHA)]
            means = [point.mean(group) for group in (ID, *groups)]
            flags = [int(point in front) for front in members]
            seeds = " ".join(map(str, point.seeds))
            identity = [series.label, series.model, *dose, len(point.seeds), seeds]
            ece = None if math.isnan(point.eces[ID]) else point.eces[ID]
            lines.append([*identity, *means, *flags, point.validation, ece])
    return csv_text(lines)
