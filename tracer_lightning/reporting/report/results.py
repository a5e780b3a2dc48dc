"""Scores before and after, as big numbers and as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tracer_lightning.evaluation import AVERAGE, Scores
from tracer_lightning.reporting.report.numbers import Change, change, percent
from tracer_lightning.reporting.report.record import LOWER_IS_BETTER, METRICS, MODELS, RunRecord


class Cell(NamedTuple):
    """One score."""

    model: str
    text: str
    """In percent."""
    change: Change | None
    """Against the score before training; None where this is it."""


class Row(NamedTuple):
    """One data set, or a mean over several."""

    name: str
    role: str
    n: str
    cells: list[Cell]
    """Every metric of every model."""
    dots: list[tuple[str, float]]
    """Models and where their headline metric lies on the table's scale, in percent of its width."""


class Tile(NamedTuple):
    """One metric, in distribution or out of it."""

    title: str
    sets: list[str]
    cells: list[Cell]


class ResultsTable(NamedTuple):
    """All scores."""

    metrics: list[str]
    models: list[str]
    rows: list[Row]
    means: list[Row]
    scale: tuple[int, int]
    """Percent at the ends of the dots' scale."""
    members: dict[str, str]
    """Averages and the data sets that they are over."""


def score(values: Mapping[str, Any], metric: str) -> float:
    """A metric; NaN where there is none, as of a set of which nothing could be read."""
    value = values.get(metric)
    return math.nan if value is None else value


def _cells(values: Mapping[str, Mapping[str, Any]], metric: str) -> list[Cell]:
    """One metric of every model from what each scored."""
    before = score(values.get("zero_shot", {}), metric)
    return [
        Cell(
            model,
            percent(score(scores, metric)),
            None if model == "zero_shot" else change(before, score(scores, metric), metric in LOWER_IS_BETTER),
        )
        for model, scores in values.items()
    ]


def _mean(scores: Scores, names: Sequence[str], metrics: Sequence[str]) -> dict[str, float]:
    scored = [scores[name] for name in names if scores[name]["n"]]
    return {metric: sum(values[metric] for values in scored) / len(scored) for metric in metrics if scored}


def sets_of(record: RunRecord) -> dict[str, list[str]]:
    """Data sets by role, ``id`` and ``ood``."""
    first = next(iter(record.scores.values()), {})
    roles: dict[str, list[str]] = {"id": [], "ood": []}
    for name, values in first.items():
        if "sets" not in values:
            roles[values["role"]].append(name)
    return roles


def tiles(record: RunRecord) -> list[Tile]:
    """The headline metric and the ECE, in distribution and, where it is tested, out of it."""
    roles = {role: names for role, names in sets_of(record).items() if names}
    metrics = [record.headline, "ece"] if len(roles) > 1 else record.metrics
    found = []
    for metric in metrics:
        for role, names in roles.items():
            values = {model: _mean(scores, names, metrics) for model, scores in record.scores.items()}
            found.append(Tile(f"{role.upper()} {METRICS[metric]}", names, _cells(values, metric)))
    return found


def _row(record: RunRecord, name: str, scale: tuple[int, int]) -> Row:
    values: dict[str, Any] = {model: scores[name] for model, scores in record.scores.items()}
    first = next(iter(values.values()))
    low, high = scale
    dots = [
        (model, round((100 * score(scores, record.headline) - low) / (high - low) * 100, 1))
        for model, scores in values.items()
        if math.isfinite(score(scores, record.headline))
    ]
    return Row(
        "mean OOD" if name == AVERAGE else name,
        "" if "sets" in first else first["role"].upper(),
        "" if "sets" in first else f"{first['n']:,}",
        [cell for metric in record.metrics for cell in _cells(values, metric)],
        dots,
    )


def results_of(record: RunRecord) -> ResultsTable | None:
    """The table; None where nothing was tested."""
    if not record.scores:
        return None
    first = next(iter(record.scores.values()))
    every = [100 * score(scores[name], record.headline) for scores in record.scores.values() for name in scores]
    finite = [value for value in every if math.isfinite(value)] or [0.0]
    low = min(90, int(min(finite) // 10) * 10)
    scale = (low, max(low + 10, -int(-max(finite) // 10) * 10))
    rows = {name: _row(record, name, scale) for name in first}
    return ResultsTable(
        [METRICS[metric] for metric in record.metrics],
        [model for model in MODELS if model in record.scores],
        [row for name, row in rows.items() if "sets" not in first[name]],
        [row for name, row in rows.items() if "sets" in first[name]],
        scale,
        {rows[name].name: ", ".join(values["sets"]) for name, values in first.items() if "sets" in values},
    )
