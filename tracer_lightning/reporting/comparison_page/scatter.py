"""Scatter of scores on OOD and other sets against ID scores, with the lines of interpolated models."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tracer_lightning.reporting.comparison import Comparison, ComparisonRow
from tracer_lightning.reporting.comparison_page.groups import Groups
from tracer_lightning.reporting.frontier import ID, OOD, OTHER, Sets, mean_scores, score_titles, scored_sets
from tracer_lightning.reporting.frontier_figure import AXES
from tracer_lightning.reporting.merges import Interpolation
from tracer_lightning.reporting.model_choices import ZERO_SHOT
from tracer_lightning.reporting.report.drawing import PlotArea, axis_range
from tracer_lightning.reporting.report.numbers import format_number, percent, ticks
from tracer_lightning.scores import ROLE_TITLES

AREA = PlotArea(48, 10, 530, 318)


class ScatterPoint(NamedTuple):
    """Model, or mean over the seeds of a group of runs."""

    group: int
    model: str
    text: str
    """Tooltip."""
    x: float
    y: float


class ScatterLine(NamedTuple):
    """Models between a start and a fine-tuned model."""

    group: int
    points: Sequence[ScatterPoint]
    """Models in the order of alpha."""


class Scatter(NamedTuple):
    """One panel, in pixels of the figure with y downwards."""

    x_title: str
    y_title: str
    points: Sequence[ScatterPoint]
    lines: Sequence[ScatterLine]
    x_ticks: Sequence[tuple[float, str]]
    """Coordinates and labels of the ticks of the x axis."""
    y_ticks: Sequence[tuple[float, str]]
    """Coordinates and labels of the ticks of the y axis."""
    area: PlotArea = AREA


class Scatters(NamedTuple):
    """All panels of a comparison."""

    panels: Sequence[Scatter]
    left_out: int
    """Number of rows that were tested on other sets than the first one, and so are in no panel."""


class _Model(NamedTuple):
    group: int
    model: str
    text: str
    means: Mapping[str, float]
    """Mean score by role, as fractions."""


def scatters(comparison: Comparison, interpolations: Sequence[Interpolation], groups: Groups) -> Scatters:
    """Draw a panel for OOD sets and one for other sets; none where there are no ID scores to compare with.

    Args:
        comparison: rows, each of which is a point.
        interpolations: merges, of which those of compared runs become lines.
        groups: numbers of the groups of the comparison.
    """
    sets: Sets = next((scored_sets(row.scores) for row in comparison.rows if row.model != ZERO_SHOT), {})
    if not sets.get(ID):
        return Scatters([], 0)
    rows = list(zip(groups.of_rows, comparison.rows, strict=True))
    comparable = [(number, row) for number, row in rows if scored_sets(row.scores) == sets]
    models = [_row_model(number, row, sets) for number, row in comparable]
    shown = {(number, row.model) for number, row in comparable}
    labels = {number: row.label for number, row in comparable}
    lines = list(_lines(interpolations, sets, groups, shown, labels))
    titles = score_titles(comparable[0][1].scores, sets)
    panels = [_panel(role, titles, models, lines) for role in (OOD, OTHER) if sets[role]]
    return Scatters(panels, len(rows) - len(comparable))


def _row_model(number: int, row: ComparisonRow, sets: Sets) -> _Model:
    """Mean of a row over its runs."""
    means = [mean_scores(run.scores[row.model], sets) for run in row.runs] or [mean_scores(row.scores, sets)]
    seeds = f", {len(row.runs)} seeds" if len(row.runs) > 1 else ""
    text = row.label if row.model == ZERO_SHOT else f"{row.label} ({row.model}{seeds})"
    return _Model(number, row.model, text, {role: statistics.fmean(mean[role] for mean in means) for role in means[0]})


def _lines(
    interpolations: Sequence[Interpolation],
    sets: Sets,
    groups: Groups,
    shown: set[tuple[int, str]],
    labels: Mapping[int, str],
) -> Iterator[list[_Model]]:
    """Yield the models of each merge of a shown row, in the order of alpha."""
    for merge in interpolations:
        number = groups.number_of(merge.settings)
        scores = {alpha: scores for alpha, scores in sorted(merge.scores.items()) if scored_sets(scores) == sets}
        if number is None or (number, merge.model) not in shown or not scores:
            continue
        name = f"{labels[number]} + {merge.curve} ({merge.model}, seed {merge.seed})"
        yield [
            _Model(number, merge.model, f"{name}, alpha {alpha:g}", mean_scores(values, sets))
            for alpha, values in scores.items()
        ]


def _panel(
    role: str, titles: Mapping[str, str], models: Sequence[_Model], lines: Sequence[Sequence[_Model]]
) -> Scatter:
    everything = [*models, *(model for line in lines for model in line)]
    (left, right), (low, high) = (axis_range(*_extent(everything, key)) for key in (ID, role))

    def point(model: _Model) -> ScatterPoint:
        x, y = model.means[ID], model.means[role]
        return ScatterPoint(
            model.group,
            model.model,
            f"{model.text}: {percent(x)} % on {ROLE_TITLES[ID]}, {percent(y)} % on {ROLE_TITLES[role]} sets",
            round(AREA.x((x - left) / (right - left)), 1),
            round(AREA.y((y - low) / (high - low)), 1),
        )

    return Scatter(
        AXES[ID].format(titles[ID]),
        AXES[role].format(titles[role]),
        [point(model) for model in models],
        [ScatterLine(line[0].group, [point(model) for model in line]) for line in lines],
        [
            (round(AREA.x((tick - left) / (right - left)), 1), format_number(100 * tick, 6))
            for tick in ticks(left, right)
        ],
        [(round(AREA.y((tick - low) / (high - low)), 1), format_number(100 * tick, 6)) for tick in ticks(low, high)],
    )


def _extent(models: Sequence[_Model], role: str) -> tuple[float, float]:
    means = [model.means[role] for model in models]
    return min(means), max(means)
