"""Evaluation of several models on several data sets, one pass over each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.logits import check_head, image_logits, padded
from tracer_lightning.evaluation.metrics import ClassificationMetrics, Details
from tracer_lightning.evaluation.neighbours import NeighbourAccuracy
from tracer_lightning.evaluation.temperature import TemperatureScaling
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.types import Batch, EvalSet

AVERAGE = "avg_ood"
Scores = dict[str, dict[str, Any]]
"""Data set name to its metrics, and the name of each average to the means over its ``sets``; metrics are None where
nothing could be read, and such sets are in no mean."""
WITH_NEIGHBOURS = "accuracy_pm10"
"""Metric of sets of frames: the share of anchors that are right with all their neighbours within ten frames."""
NO_METRICS = ("split", "role", "n", WITH_NEIGHBOURS)
"""What means leave out."""


def _neighbour_accuracies(
    eval_sets: Sequence[EvalSet], models: Sequence[str]
) -> dict[tuple[str, int], NeighbourAccuracy]:
    """One of each model on each set of frames, by the model's name and the place of the set."""
    return {
        (name, number): NeighbourAccuracy(eval_set.neighbours)
        for name in models
        for number, eval_set in enumerate(eval_sets)
        if eval_set.neighbours is not None
    }


class ZeroShotSuite(nn.Module):
    """Metrics per model and data set, each model with its own head, or else a zero-shot one of its current text tower.

    Args:
        eval_sets: the data sets, in the order of their loaders.
        prompts: (C, P, L) tokens of every template for every class.
        models: names under which models may be evaluated.
        ece_per_batch: as for :class:`ClassificationMetrics`.
        averages: names of averages to the data sets that they are over, beside ``avg_ood`` over those of role ``ood``.
        logits_in_bf16: round features, heads and logits to bf16, as the released code does.
        temperature: also fit a temperature on the first data set, and report the ECE at it.
    """

    prompts: Tensor

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        prompts: Tensor,
        models: Sequence[str] = ("student",),
        ece_per_batch: bool = False,
        averages: Mapping[str, Sequence[str]] | None = None,
        temperature: bool = False,
        logits_in_bf16: bool = False,
    ) -> None:
        super().__init__()
        self.eval_sets = tuple(eval_sets)
        names = [eval_set.name for eval_set in eval_sets]
        ood = [eval_set.name for eval_set in eval_sets if eval_set.role == "ood"]
        self.averages = {**({AVERAGE: ood} if ood else {}), **(averages or {})}
        for name in names:
            if names.count(name) > 1 or name in {AVERAGE, *self.averages}:
                raise ValueError(f"data: two evaluation sets, or a set and their average, are named {name}; rename one")
        for name, members in self.averages.items():
            if not members or not set(members) <= set(names):
                raise ValueError(f"averages.{name} must list some of {', '.join(names)}; found {list(members)}")
        self.register_buffer("prompts", prompts, persistent=False)
        sizes = [len(eval_set.classes or prompts) for eval_set in eval_sets]
        for number, eval_set in enumerate(eval_sets):
            if eval_set.classes is not None:
                self.register_buffer(f"columns_{number}", padded(eval_set.classes), persistent=False)
        self._metrics = {name: [ClassificationMetrics(size, ece_per_batch) for size in sizes] for name in models}
        self._registered = nn.ModuleList(metrics for row in self._metrics.values() for metrics in row)
        self._neighbours = _neighbour_accuracies(self.eval_sets, models)
        self._registered.extend(self._neighbours.values())
        self.temperatures = nn.ModuleDict({name: TemperatureScaling(names) for name in models if temperature})
        self.details: dict[str, dict[str, Details]] = {}
        """Of the last evaluation, by model and data set."""
        self.logits_in_bf16 = logits_in_bf16
        self._models: dict[str, Any] = {}
        self._heads: dict[str, Tensor] = {}

    def start(self, models: Mapping[str, Any], zero_shot: bool = False) -> None:
        """Begin an evaluation of these models: build zero-shot heads, forget earlier batches.

        Args:
            models: by name.
            zero_shot: leave the models' own heads aside.
        """
        self._models = dict(models)
        textual = {name: model for name, model in models.items() if zero_shot or model.head is None}
        for name in models.keys() - textual.keys():
            check_head(name, models[name], len(self.prompts), ", or heads=zero_shot")
        self._heads = {name: zero_shot_head(model.encode_text, self.prompts) for name, model in textual.items()}
        for name in models:
            for metrics in self._metrics[name]:
                metrics.reset()
        for accuracy in self._neighbours.values():
            accuracy.reset()
        for scaling in self.temperatures.values():
            scaling.reset()  # type: ignore[operator]

    @torch.no_grad()
    def update(self, batch: Batch, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        columns = getattr(self, f"columns_{set_index}", None)
        for name, model in self._models.items():
            logits = image_logits(model, self._heads.get(name), batch.images, columns, self.logits_in_bf16)
            labels = batch.labels
            if (neighbours := self._neighbours.get((name, set_index))) is not None:
                neighbours.update(logits, batch.indices)
                labels = neighbours.best_labels(logits, labels, batch.indices)
            self._metrics[name][set_index].update(logits, labels)
            if name in self.temperatures:
                self.temperatures[name].update(set_index, logits, labels)  # type: ignore[operator]

    def finish(self) -> dict[str, Scores]:
        """Scores of each model; releases models and heads."""
        self.details = {}
        results = {name: self._scores(name) for name in self._models}
        self._models, self._heads = {}, {}
        return results

    def _scores(self, name: str) -> Scores:
        scores: Scores = {}
        details = self.details.setdefault(name, {})
        for number, (eval_set, metrics) in enumerate(zip(self.eval_sets, self._metrics[name], strict=True)):
            values, details[eval_set.name] = metrics.compute()
            scores[eval_set.name] = {"split": eval_set.split, "role": eval_set.role, **values}
            if (neighbours := self._neighbours.get((name, number))) is not None:
                scores[eval_set.name][WITH_NEIGHBOURS] = neighbours.compute()
        averages = {average: self._average(members, scores) for average, members in self.averages.items()}
        return {**scores, **averages}

    def _average(self, members: Sequence[str], scores: Scores) -> dict[str, Any]:
        names = [metric for metric in scores[members[0]] if metric not in NO_METRICS]
        scored = [member for member in members if scores[member]["n"]]
        means = {metric: sum(scores[member][metric] for member in scored) / len(scored) for metric in names if scored}
        return {"sets": scored, **dict.fromkeys(names), **means}
