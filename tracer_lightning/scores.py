"""Scores of models, and what tables and figures say of metrics; imported without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

AVERAGE, AVERAGE_OTHER = "avg_ood", "avg_other"
"""Names of the averages over the sets of role ``ood`` and of role ``other``."""
ROLE_TITLES = {"id": "ID", "ood": "OOD", "other": "other"}
"""Names of roles in tables and figures."""
Scores = dict[str, dict[str, Any]]
"""Data set name to its metrics, and the name of each average to the means over its ``sets``; metrics are None where
nothing could be read, and such sets are in no mean. They are NaN, as are their means, where they can't be computed,
such as those of predictions that are NaN; files have null in both cases."""
ABOUT = ("split", "role", "n")
"""Entries of a data set's scores that are not metrics."""
Details = dict[str, Any]
"""Whatever scores of one data set are made of, for reports."""
RECALL = "recall_at_1"
"""Name of the mean of recall@1 over both directions."""
ECE_BINS = 10
"""Number of bins of confidence of the expected calibration error."""
WITH_NEIGHBOURS = "accuracy_pm10"
"""Name of the share of anchors of video frames that are right with all their neighbours."""


class Metric(NamedTuple):
    """Declaration of a metric, for tables, reports and searches."""

    name: str
    """Key in results.json and in the names of logged values."""
    title: str
    """Name in sentences, legends and tables, such as ``macro-F1``."""
    column: str
    """Head of its column in narrow tables."""
    better: Literal["higher", "lower"] = "higher"
    percent: bool = True
    """Whether it lies in [0, 1] and is shown in percent."""
    shown: bool = True
    """Whether tables and reports show it by default."""
    averaged: bool = True
    """Whether means over data sets are taken."""

    def declaration(self) -> dict[str, Any]:
        """Entry of results.json that declares the metric."""
        return {key: value for key, value in self._asdict().items() if key != "name"}


def headline_of(scores: Mapping[str, Any], metrics: Iterable[Metric]) -> Metric | None:
    """The first metric that the scores of a data set, or an average, have; None if they have none.

    Args:
        scores: names of metrics to values, which are None where nothing could be read.
        metrics: declared metrics, the primary one first.
    """
    return next((metric for metric in metrics if metric.name in scores), None)


class ScoredSets(NamedTuple):
    """Data sets that are scored alike, such as those with labels or those with captions."""

    names: tuple[str, ...]
    """Names of the sets, then of the averages that have their headline."""
    metrics: tuple[Metric, ...]
    """Metrics that some of the sets have, in the order given."""


def sets_by_kind(scores: Mapping[str, Mapping[str, Any]], metrics: Sequence[Metric]) -> list[ScoredSets]:
    """Group data sets by the metric that is their headline.

    Args:
        scores: scores of a model, by data set and average.
        metrics: declared metrics, the primary one first.
    """
    kinds: dict[Metric | None, list[str]] = {}
    for name, values in scores.items():
        if "sets" not in values:
            kinds.setdefault(headline_of(values, metrics), []).append(name)
    means = [name for name, values in scores.items() if "sets" in values]
    return [
        ScoredSets(
            (*names, *(name for name in means if headline and headline.name in scores[name])),
            tuple(metric for metric in metrics if any(metric.name in scores[name] for name in names)),
        )
        for headline, names in kinds.items()
    ]


IMAGE_TITLES, TEXT_TITLES = {"id": "ID images", "ood": "OOD images"}, {"id": "ID text"}
"""Titles of the rows and columns of a grid of images and texts; other texts have their own names."""


def cell_name(image: str, text: str) -> str:
    """Name of the average over the sets of one cell of a grid of images and texts."""
    return f"image_{image}/text_{text}"


def cell_of(name: str) -> tuple[str, str] | None:
    """Image and text of the cell that a name of :func:`cell_name` stands for; None for other names."""
    image, separator, text = name.removeprefix("image_").partition("/text_")
    return (image, text) if separator and name == cell_name(image, text) else None


class ScoreGrid(NamedTuple):
    """Averages of a suite, arranged in rows and columns."""

    title: str
    """What rows and columns are, such as ``images by texts``."""
    rows: tuple[str, ...]
    """Titles of the rows."""
    columns: tuple[str, ...]
    """Titles of the columns."""
    averages: tuple[tuple[str | None, ...], ...]
    """Name of the average of each cell, by row and column; None where no data set belongs to it."""


CLASSIFICATION = (
    Metric("accuracy", "accuracy", "acc"),
    Metric("ece", "ECE", "ECE", better="lower"),
    Metric("macro_f1", "macro-F1", "F1"),
    Metric("accuracy_top5", "top-5 accuracy", "top5", shown=False),
    Metric("ece_per_batch", "ECE per batch", "ECE/batch", better="lower", shown=False),
    Metric(WITH_NEIGHBOURS, "with neighbours", "pm-10", shown=False, averaged=False),
)
"""Metrics that :class:`ClassificationMetrics` computes, as tables and figures show them. The last is that of video
frames: the share of anchors that are right with all their neighbours within ten frames."""
METRICS = tuple(metric.name for metric in CLASSIFICATION if metric.shown)
"""Names of the metrics of classification that tables show by default."""
