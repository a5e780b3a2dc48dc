"""The contract of evaluation suites: scores of several models on several data sets, one pass over each sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import nn

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


class Suite(nn.Module):
    """Scores models on data sets. A subclass declares its metrics, and gives ``start``, ``update`` and ``score``.

    Args:
        eval_sets: the data sets, in the order of their loaders, each with a ``name``, a ``split`` and a ``role``.
        averages: names of averages to the data sets that they are over, beside ``avg_ood`` over those of role ``ood``
            and ``avg_other`` over those of role ``other``.
    """

    metrics: tuple[Metric, ...] = ()
    """The metrics, the primary one first."""
    untrained: str = "before"
    """Name of the scores of the model before training, in results."""

    def __init__(self, eval_sets: Sequence[Any], averages: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__()
        self.eval_sets = tuple(eval_sets)
        names = [eval_set.name for eval_set in eval_sets]
        by_role = {
            average: [eval_set.name for eval_set in eval_sets if eval_set.role == role]
            for average, role in ((AVERAGE, "ood"), (AVERAGE_OTHER, "other"))
        }
        self.averages = {**{average: members for average, members in by_role.items() if members}, **(averages or {})}
        for name in names:
            if names.count(name) > 1 or name in {*by_role, *self.averages}:
                raise ValueError(f"eval_sets: two sets, or a set and their average, are named {name}; rename one")
        for name, members in self.averages.items():
            if not members or not set(members) <= set(names):
                raise ValueError(f"averages.{name} must list some of {', '.join(names)}; found {list(members)}")
        self.details: dict[str, dict[str, Details]] = {}
        """Details of the last evaluation, by model and data set."""
        self._models: dict[str, Any] = {}

    @classmethod
    def declared_metrics(cls, settings: Mapping[str, Any]) -> tuple[Metric, ...]:
        """The metrics of a suite that is made with these arguments, before it is made."""
        del settings
        return cls.metrics

    def settings(self) -> dict[str, Any]:
        """Arguments that the scores depend on, as entries of files of results."""
        return {}

    def start(self, models: Mapping[str, Any], untrained: bool = False) -> None:
        """Begin an evaluation of these models: forget earlier batches.

        Args:
            models: by name.
            untrained: score the models as they were given, without what was made for the task, such as heads.
        """
        del untrained
        self._models = dict(models)

    def update(self, batch: Any, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        raise NotImplementedError

    def score(self, model: str, set_index: int) -> tuple[dict[str, Any], Details]:
        """Metrics of a model on the data set at that place, with the number ``n`` of its samples, and their details."""
        raise NotImplementedError

    def grid(self) -> ScoreGrid | None:
        """Averages in rows and columns, which reports show as a heat map; None if the suite has no such arrangement."""
        return None

    def tables(self, results: Mapping[str, Scores | None]) -> list[Any]:
        """Further tables of the scores of an evaluation, to print after that of all scores.

        Args:
            results: scores by name of the model, None where there is no such model.
        """
        del results
        return []

    def finish(self) -> dict[str, Scores]:
        """Scores of each model; releases the models."""
        self.details = {name: {} for name in self._models}
        results = {name: self._scores(name) for name in self._models}
        self._models = {}
        return results

    def _scores(self, name: str) -> Scores:
        scores: Scores = {}
        for set_index, eval_set in enumerate(self.eval_sets):
            values, self.details[name][eval_set.name] = self.score(name, set_index)
            scores[eval_set.name] = {"split": eval_set.split, "role": eval_set.role, **values}
        averages = {average: self._average(members, scores) for average, members in self.averages.items()}
        return {**scores, **averages}

    def _average(self, members: Sequence[str], scores: Scores) -> dict[str, Any]:
        left_out = {*ABOUT, *(metric.name for metric in self.metrics if not metric.averaged)}
        names = dict.fromkeys(name for member in members for name in scores[member] if name not in left_out)
        scored = [member for member in members if scores[member]["n"]]
        values = {name: [scores[member][name] for member in scored if name in scores[member]] for name in names}
        means = {name: sum(measured) / len(measured) for name, measured in values.items() if measured}
        return {"sets": scored, **dict.fromkeys(names), **means}
