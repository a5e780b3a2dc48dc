"""Ranks of matches on data sets with captions, and the worst pairs."""

from __future__ import annotations

from typing import Any, NamedTuple

from tracer_lightning.evaluation.retrieval_metrics import CUTOFFS, DIRECTIONS, median_name, recall_name
from tracer_lightning.reporting.changed import shorten
from tracer_lightning.reporting.report.drawing import RankDrawing, draw_ranks
from tracer_lightning.reporting.report.images import data_url
from tracer_lightning.reporting.report.numbers import percent
from tracer_lightning.reporting.report.record import MODELS, RunRecord
from tracer_lightning.reporting.worst_pairs import WorstPair

CAPTION_LENGTH = 80
"""Number of characters of a caption in the report."""


class DirectionRow(NamedTuple):
    """Scores of one model in one direction."""

    model: str
    recalls: list[str]
    """Recalls in percent, by increasing k."""
    median: str


class Direction(NamedTuple):
    """Ranks of the matches of one direction."""

    title: str
    rows: list[DirectionRow]
    drawing: RankDrawing


class ShownPair(NamedTuple):
    """A pair whose match is found late."""

    image: str
    """``data:`` URL."""
    rank: str
    captions: list[str]
    retrieved_caption: str
    retrieved_image: str
    """``data:`` URL; empty for none."""


class RetrievalSet(NamedTuple):
    """Retrieval on one data set."""

    name: str
    directions: list[Direction]
    worst: dict[str, list[ShownPair]]
    """Worst pairs by the title of the direction."""


def retrieval_of(record: RunRecord, names: list[str]) -> list[RetrievalSet]:
    """Data sets with captions among those of these names."""
    details = {model: record.details[model] for model in MODELS if model in record.details}
    groups = []
    for name in names:
        ranks = {model: values[name]["ranks"] for model, values in details.items() if "ranks" in values[name]}
        if not ranks:
            continue
        directions = []
        for direction, title in DIRECTIONS.items():
            rows = [_row(model, direction, record.scores[model][name]) for model in ranks]
            drawing = draw_ranks({model: counts[direction] for model, counts in ranks.items()})
            directions.append(Direction(title, rows, drawing))
        worst = {
            title: [_shown(pair) for pair in record.worst_pairs.get(name, ()) if pair.direction == direction]
            for direction, title in DIRECTIONS.items()
        }
        groups.append(RetrievalSet(name, directions, {title: pairs for title, pairs in worst.items() if pairs}))
    return groups


def _row(model: str, direction: str, scores: Any) -> DirectionRow:
    recalls = [percent(scores[recall_name(direction, cutoff)]) for cutoff in CUTOFFS]
    return DirectionRow(model, recalls, f"{scores[median_name(direction)]:g}")


def _shown(pair: WorstPair) -> ShownPair:
    return ShownPair(
        data_url(pair.image),
        f"{pair.rank:,}",
        [shorten(caption, CAPTION_LENGTH) for caption in pair.captions],
        shorten(pair.retrieved_caption, CAPTION_LENGTH),
        "" if pair.retrieved_image is None else data_url(pair.retrieved_image),
    )
