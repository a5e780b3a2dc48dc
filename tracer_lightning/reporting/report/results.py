"""Scores before and after training, as tiles and as a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tracer_lightning.reporting.report.numbers import FULL_TINT, ScoreChange, change, format_score
from tracer_lightning.reporting.report.record import MODELS, UNTRAINED, RunRecord
from tracer_lightning.scores import AVERAGE, AVERAGE_OTHER, ROLE_TITLES, Metric, Scores

MEANS = {AVERAGE: "mean OOD", AVERAGE_OTHER: "mean other"}
"""Displayed names of averages."""


class ScoreCell(NamedTuple):
    """One score of one model."""

    model: str
    text: str
    """Formatted score."""
    change: ScoreChange | None
    """Change against the score before training; None for that score itself."""


class ScoreRow(NamedTuple):
    """Scores on one dataset, or their mean over several."""

    name: str
    role: str
    n: str
    cells: list[ScoreCell]
    """Scores of every metric and model."""
    dots: list[tuple[str, float]]
    """Models with the position of their headline metric on the table's scale, in percent of its width."""


class Tile(NamedTuple):
    """One metric on the sets of one role."""

    title: str
    sets: list[str]
    cells: list[ScoreCell]


class GridCell(NamedTuple):
    """Mean scores of all models of one cell of a grid."""

    before: str
    """Formatted score before training; empty without one."""
    cells: list[ScoreCell]
    """Scores of the trained models."""
    average: str
    """Name of the average; empty if no data set belongs to the cell."""
    kind: str
    """Kind of the change of the first trained model, see :class:`ScoreChange`; empty without one."""
    tint: int
    """Strength of the colour of this change, in percent of that of the largest one in the grid."""


class GridTable(NamedTuple):
    """Heat map of mean scores."""

    title: str
    metric: str
    columns: tuple[str, ...]
    rows: list[tuple[str, list[GridCell]]]
    """Title and cells of each row."""


class ResultsTable(NamedTuple):
    """Table of all scores on data sets with the same metrics."""

    headline: Metric
    metrics: list[str]
    models: list[str]
    rows: list[ScoreRow]
    means: list[ScoreRow]
    scale: tuple[int, int]
    """Ends of the dots' scale."""
    members: dict[str, str]
    """Averaged datasets by the average's name."""


def score(values: Mapping[str, Any], metric: Metric) -> float:
    """Value of a metric; NaN if it is missing, as for a set without readable samples."""
    value = values.get(metric.name)
    return math.nan if value is None else value


def _cells(values: Mapping[str, Mapping[str, Any]], metric: Metric) -> list[ScoreCell]:
    """Cells of one metric, one for every model."""
    before = score(values.get(UNTRAINED, {}), metric)
    cells = []
    for model, scores in values.items():
        value = score(scores, metric)
        difference = None if model == UNTRAINED else change(before, value, metric.better == "lower", metric.percent)
        cells.append(ScoreCell(model, format_score(value, metric.percent), difference))
    return cells


def mean_scores(scores: Scores, names: Sequence[str], metrics: Sequence[Metric]) -> dict[str, float]:
    """Mean of each metric over those of the datasets that have samples; empty if none has."""
    scored = [scores[name] for name in names if scores[name]["n"]]
    return {m.name: sum(values[m.name] for values in scored) / len(scored) for m in metrics if scored}


def sets_of(record: RunRecord) -> dict[str, list[str]]:
    """Names of the datasets by role: ``id``, ``ood`` and ``other``."""
    first = next(iter(record.scores.values()), {})
    roles: dict[str, list[str]] = {role: [] for role in ROLE_TITLES}
    for name, values in first.items():
        if "sets" not in values:
            roles[values["role"]].append(name)
    return roles


def metrics_of(record: RunRecord, name: str) -> list[Metric]:
    """Reported metrics that a data set or an average has, the headline first."""
    scores = next(iter(record.scores.values()))[name]
    return [metric for metric in record.metrics if metric.name in scores]


def sets_by_headline(record: RunRecord) -> dict[tuple[str, Metric], list[str]]:
    """Names of the datasets by role and headline metric, in the order of roles."""
    groups: dict[tuple[str, Metric], list[str]] = {}
    for role, names in sets_of(record).items():
        for name in names:
            groups.setdefault((role, metrics_of(record, name)[0]), []).append(name)
    return groups


def tile_of(record: RunRecord, role: str, metric: Metric, names: list[str]) -> Tile:
    """Tile of the mean of a metric over datasets of one role."""
    values = {model: mean_scores(scores, names, [metric]) for model, scores in record.scores.items()}
    return Tile(f"{ROLE_TITLES[role]} {metric.title}", names, _cells(values, metric))


def headline_tiles(record: RunRecord) -> list[Tile]:
    """Tiles of the headline metric and a second one, for classification the ECE, for each role that was tested."""
    groups = sets_by_headline(record)
    tiles: list[list[Tile]] = []
    for (role, _), names in groups.items():
        first, *others = metrics_of(record, names[0])
        errors = [metric for metric in others if metric.better == "lower"]
        metrics = [first, *(errors or others)[:1]] if len(groups) > 1 else [first, *others]
        tiles.append([tile_of(record, role, metric, names) for metric in metrics])
    return [tile for column in itertools.zip_longest(*tiles) for tile in column if tile is not None]


def _displayed(values: Mapping[str, Any], metric: Metric) -> float:
    """Value of a metric as it is displayed, in percent if it is a fraction."""
    return (100 if metric.percent else 1) * score(values, metric)


def _scale(values: Sequence[float], percent: bool) -> tuple[int, int]:
    """Ends of a scale that contains all values: multiples of ten, or whole numbers if they are no percentages."""
    step = 10 if percent else 1
    low = int(min(values) // step) * step
    low = min(90, low) if percent else low
    return low, max(low + step, -int(-max(values) // step) * step)


def _row(record: RunRecord, name: str, metrics: Sequence[Metric], scale: tuple[int, int]) -> ScoreRow:
    values: dict[str, Any] = {model: scores[name] for model, scores in record.scores.items()}
    first = next(iter(values.values()))
    low, high = scale
    dots = [
        (model, round((_displayed(scores, metrics[0]) - low) / (high - low) * 100, 1))
        for model, scores in values.items()
        if math.isfinite(score(scores, metrics[0]))
    ]
    return ScoreRow(
        MEANS.get(name, name),
        "" if "sets" in first else ROLE_TITLES[first["role"]],
        "" if "sets" in first else f"{first['n']:,}",
        [cell for metric in metrics for cell in _cells(values, metric)],
        dots,
    )


def _change_of(record: RunRecord, average: str | None) -> float:
    """Change of a cell's score, that of the first trained model; 0 without one."""
    before, *trained = record.scores.values()
    if average is None or not trained:
        return 0.0
    difference = score(trained[0][average], record.headline) - score(before[average], record.headline)
    return difference if math.isfinite(difference) else 0.0


def _grid_cell(record: RunRecord, average: str | None, largest: float) -> GridCell:
    if average is None:
        return GridCell("", [], "", "", 0)
    cells = _cells({model: scores[average] for model, scores in record.scores.items()}, record.headline)
    before = "".join(cell.text for cell in cells if cell.model == UNTRAINED)
    trained = [cell for cell in cells if cell.model != UNTRAINED]
    kind = trained[0].change.kind if trained and trained[0].change else ""
    return GridCell(before, trained, average, kind, round(100 * abs(_change_of(record, average)) / largest))


def grid_of(record: RunRecord) -> GridTable | None:
    """Build the heat map of the headline metric; None if the suite has none, or nothing was tested."""
    if record.grid is None or not record.scores:
        return None
    changes = [abs(_change_of(record, average)) for averages in record.grid.averages for average in averages]
    largest = max([*changes, FULL_TINT])
    rows = [
        (title, [_grid_cell(record, average, largest) for average in averages])
        for title, averages in zip(record.grid.rows, record.grid.averages, strict=True)
    ]
    return GridTable(record.grid.title, record.headline.title, record.grid.columns, rows)


def results_of(record: RunRecord) -> list[ResultsTable]:
    """Build a table of results for the data sets of each kind, by their metrics; empty if nothing was tested."""
    first = next(iter(record.scores.values()), {})
    kinds: dict[tuple[Metric, ...], list[str]] = {}
    for name, values in first.items():
        if "sets" not in values:
            kinds.setdefault(tuple(metrics_of(record, name)), []).append(name)
    means = [name for name, values in first.items() if "sets" in values]
    return [
        _table(record, metrics, [*names, *(mean for mean in means if metrics[0].name in first[mean])])
        for metrics, names in kinds.items()
    ]


def _table(record: RunRecord, metrics: Sequence[Metric], names: Sequence[str]) -> ResultsTable:
    first = next(iter(record.scores.values()))
    values = [_displayed(scores[name], metrics[0]) for scores in record.scores.values() for name in names]
    scale = _scale([value for value in values if math.isfinite(value)] or [0.0], metrics[0].percent)
    rows = {name: _row(record, name, metrics, scale) for name in names}
    return ResultsTable(
        metrics[0],
        [metric.title for metric in metrics],
        [model for model in MODELS if model in record.scores],
        [row for name, row in rows.items() if "sets" not in first[name]],
        [row for name, row in rows.items() if "sets" in first[name]],
        scale,
        {rows[name].name: ", ".join(first[name]["sets"]) for name in names if "sets" in first[name]},
    )
