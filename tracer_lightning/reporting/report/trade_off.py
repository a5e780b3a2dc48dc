"""Gain on the task against the change on other data sets."""

from __future__ import annotations

import math
from typing import NamedTuple

from tracer_lightning.reporting.report.drawing import TradeOffDrawing, draw_trade_off
from tracer_lightning.reporting.report.record import UNTRAINED, RunRecord
from tracer_lightning.reporting.report.results import (
    ScoreCell,
    Tile,
    mean_scores,
    score,
    sets_by_headline,
    tile_of,
)
from tracer_lightning.scores import Metric


class TradeOff(NamedTuple):
    """What training gained on the task, and what it changed elsewhere."""

    task: Tile
    others: Tile
    drawing: TradeOffDrawing

    @property
    def rows(self) -> list[tuple[ScoreCell, ScoreCell]]:
        """Scores on the task and on other sets of each model."""
        return list(zip(self.task.cells, self.others.cells, strict=True))


def trade_offs_of(record: RunRecord) -> list[TradeOff]:
    """Trade-offs between the sets of role ``id`` and of role ``other``, one for each headline metric of the latter.

    Both are measured by the mean of the headline metric, on the task by that of its first set. Models with scores that
    are not finite are left out; there is no trade-off without scores before and after training.
    """
    groups = sets_by_headline(record)
    task = next(((metric, names) for (role, metric), names in groups.items() if role == "id"), None)
    if task is None or UNTRAINED not in record.scores:
        return []
    trade_offs = []
    for (role, metric), names in groups.items():
        if role != "other":
            continue
        gains = {model: (_gain(record, model, *task), _gain(record, model, metric, names)) for model in record.scores}
        points = {model: point for model, point in gains.items() if all(map(math.isfinite, point))}
        if len(points) > 1:
            tiles = tile_of(record, "id", *task), tile_of(record, role, metric, names)
            drawing = draw_trade_off(points, _axis("task", task[0]), _axis("others", metric))
            trade_offs.append(TradeOff(*tiles, drawing))
    return trade_offs


def _gain(record: RunRecord, model: str, metric: Metric, names: list[str]) -> float:
    """Improvement of the mean of a metric against that before training, in points if it is a fraction."""
    before, after = (score(mean_scores(record.scores[key], names, [metric]), metric) for key in (UNTRAINED, model))
    return (100 if metric.percent else 1) * (after - before if metric.better == "higher" else before - after)


def _axis(sets: str, metric: Metric) -> str:
    change = "gain in" if metric.better == "higher" else "reduction of"
    return f"{sets}: {change} {metric.title}{' (points)' if metric.percent else ''}"
