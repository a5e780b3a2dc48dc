"""Zero-shot evaluation of several models on several data sets, one pass over each picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.metrics import ClassificationMetrics
from tracer_lightning.evaluation.zero_shot import zero_shot_head
from tracer_lightning.types import Batch, EvalSet

AVERAGE = "avg_ood"
Scores = dict[str, dict[str, Any]]
"""Data set name to its metrics, and ``avg_ood`` to the means over the OOD sets."""


def padded(classes: Sequence[Sequence[int]]) -> Tensor:
    """Groups of class indices as (C', K), short ones filled up with their own first member, which no maximum minds."""
    longest = max(len(group) for group in classes)
    return torch.tensor([[*group, *[group[0]] * (longest - len(group))] for group in classes])


class ZeroShotSuite(nn.Module):
    """Metrics per model and data set, each model with a zero-shot head built from its current text tower.

    Args:
        eval_sets: the data sets, in the order of their loaders.
        prompts: (C, P, L) tokens of every template for every class.
        models: names under which models may be evaluated.
        ece_per_batch: as for :class:`ClassificationMetrics`.
    """

    prompts: Tensor

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        prompts: Tensor,
        models: Sequence[str] = ("student",),
        ece_per_batch: bool = False,
    ) -> None:
        super().__init__()
        self.eval_sets = tuple(eval_sets)
        names = [eval_set.name for eval_set in eval_sets]
        for name in names:
            if names.count(name) > 1 or name == AVERAGE:
                raise ValueError(f"data: two evaluation sets, or a set and their average, are named {name}; rename one")
        self.register_buffer("prompts", prompts, persistent=False)
        sizes = [len(eval_set.classes or prompts) for eval_set in eval_sets]
        for number, eval_set in enumerate(eval_sets):
            if eval_set.classes is not None:
                self.register_buffer(f"columns_{number}", padded(eval_set.classes), persistent=False)
        self._metrics = {name: [ClassificationMetrics(size, ece_per_batch) for size in sizes] for name in models}
        self._registered = nn.ModuleList(metrics for row in self._metrics.values() for metrics in row)
        self._models: dict[str, Any] = {}
        self._heads: dict[str, Tensor] = {}

    def start(self, models: Mapping[str, Any]) -> None:
        """Begin an evaluation of these models: build their heads, forget earlier batches."""
        self._models = dict(models)
        self._heads = {name: zero_shot_head(model.encode_text, self.prompts) for name, model in models.items()}
        for name in models:
            for metrics in self._metrics[name]:
                metrics.reset()

    @torch.no_grad()
    def update(self, batch: Batch, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        columns = getattr(self, f"columns_{set_index}", None)
        for name, model in self._models.items():
            features = model.encode_image(batch.images)
            with torch.autocast(features.device.type, enabled=False):
                head = self._heads[name].to(features.dtype)
                logits = model.logit_scale.to(features.dtype) * features @ head.T
                if columns is not None:
                    logits = logits[:, columns].amax(dim=-1)  # (B, C', K) to (B, C')
            self._metrics[name][set_index].update(logits, batch.labels)

    def finish(self) -> dict[str, Scores]:
        """Scores of each model; releases models and heads."""
        results = {name: self._scores(name) for name in self._models}
        self._models, self._heads = {}, {}
        return results

    def _scores(self, name: str) -> Scores:
        scores: Scores = {
            eval_set.name: {"split": eval_set.split, "role": eval_set.role, **metrics.compute()}
            for eval_set, metrics in zip(self.eval_sets, self._metrics[name], strict=True)
        }
        ood = [values for values in scores.values() if values["role"] == "ood"]
        if ood:
            scores[AVERAGE] = {
                metric: sum(values[metric] for values in ood) / len(ood)
                for metric in ood[0]
                if metric not in ("split", "role", "n")
            }
        return scores
