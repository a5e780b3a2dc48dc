"""The contract of evaluation suites: scores of several models on several data sets, one pass over each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tracer_lightning.scores import ABOUT, AVERAGE, AVERAGE_OTHER, Details, Metric, ScoreGrid, Scores


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
