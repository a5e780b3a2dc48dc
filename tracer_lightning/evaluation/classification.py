"""Evaluation by classification: zero-shot, or with the model's own head."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.evaluation.logits import check_head, image_logits, padded, prompts_of
from tracer_lightning.evaluation.metrics import ClassificationMetrics
from tracer_lightning.evaluation.neighbours import NeighbourAccuracy
from tracer_lightning.evaluation.suite import Suite
from tracer_lightning.evaluation.temperature import TemperatureScaling
from tracer_lightning.functional.zero_shot import zero_shot_head
from tracer_lightning.scores import CLASSIFICATION, WITH_NEIGHBOURS, Details, Metric, Scores
from tracer_lightning.types import Batch, ClassTexts, EvalSet


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


class ClassificationSuite(Suite):
    """Metrics per model and data set, with the model's head or else a zero-shot head of its current text tower.

    Sets with classes of their own are always classified with a zero-shot head of these.

    Args:
        eval_sets: the data sets, in the order of their loaders.
        prompts: (C, P, L) tokens of every template for every training class.
        models: names under which models may be evaluated.
        ece_per_batch: as for :class:`ClassificationMetrics`.
        averages: as for :class:`Suite`.
        logits_in_bf16: round features, heads and logits to bf16, as the released code does.
        temperature: also fit a temperature on the first data set, and report the ECE at it.
        own_prompts: (C', P', L') tokens for each set with classes of its own, by its name.
        before: classifies the features (B, D) of untrained models among the training classes, where no zero-shot head
            can; their scores are called ``before`` then.
    """

    metrics: tuple[Metric, ...] = CLASSIFICATION
    untrained = "zero_shot"
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
        own_prompts: Mapping[str, Tensor] | None = None,
        before: nn.Module | None = None,
    ) -> None:
        super().__init__(eval_sets, averages)
        self._before = before
        if before is not None:
            self.untrained = Suite.untrained
        names = [eval_set.name for eval_set in eval_sets]
        self.register_buffer("prompts", prompts, persistent=False)
        self._prompt_buffers: dict[ClassTexts | None, str] = {None: "prompts"}
        for eval_set in eval_sets:
            if eval_set.texts not in self._prompt_buffers:
                buffer = f"prompts_{len(self._prompt_buffers)}"
                self.register_buffer(buffer, prompts_of(eval_set, prompts, own_prompts), persistent=False)
                self._prompt_buffers[eval_set.texts] = buffer
        sizes = [len(eval_set.classes or self._prompts(eval_set.texts)) for eval_set in eval_sets]
        for name in (name for name, size in zip(names, sizes, strict=True) if size == 1):
            warnings.warn(f"{name} has one class, so that every prediction is right; leave the set out", stacklevel=2)
        for number, eval_set in enumerate(eval_sets):
            if eval_set.classes is not None:
                self.register_buffer(f"columns_{number}", padded(eval_set.classes), persistent=False)
        self._metrics = {name: [ClassificationMetrics(size, ece_per_batch) for size in sizes] for name in models}
        self._registered = nn.ModuleList(metrics for row in self._metrics.values() for metrics in row)
        self._neighbours = _neighbour_accuracies(self.eval_sets, models)
        self._registered.extend(self._neighbours.values())
        self.temperatures = nn.ModuleDict({name: TemperatureScaling(names) for name in models if temperature})
        self.logits_in_bf16 = logits_in_bf16
        self._heads: dict[tuple[str, ClassTexts | None], Tensor | nn.Module] = {}
        self._with_head: set[str] = set()

    def _prompts(self, texts: ClassTexts | None) -> Tensor:
        """(C, P, L) tokens of the training classes, or of classes of a set's own."""
        prompts: Tensor = getattr(self, self._prompt_buffers[texts])
        return prompts

    def start(self, models: Mapping[str, Any], untrained: bool = False) -> None:
        """Begin an evaluation of these models: build zero-shot heads, forget earlier batches.

        Args:
            models: by name.
            untrained: leave the models' own heads aside.
        """
        super().start(models)
        self._with_head = {name for name, model in models.items() if not untrained and model.head is not None}
        for name in self._with_head:
            check_head(name, models[name], len(self.prompts), ", or evaluate it zero-shot")
        self._heads = {
            (name, texts): self._text_head(model, texts, untrained)
            for name, model in models.items()
            for texts in dict.fromkeys(
                eval_set.texts for eval_set in self.eval_sets if self._is_zero_shot(name, eval_set)
            )
        }
        for name in models:
            for metrics in self._metrics[name]:
                metrics.reset()
        for accuracy in self._neighbours.values():
            accuracy.reset()
        for scaling in self.temperatures.values():
            scaling.reset()  # type: ignore[operator]

    def _text_head(self, model: Any, texts: ClassTexts | None, untrained: bool) -> Tensor | nn.Module:
        """The zero-shot head of a model, or what stands in for it before training."""
        if untrained and texts is None and self._before is not None:
            return self._before
        return zero_shot_head(model.encode_text, self._prompts(texts))

    def _is_zero_shot(self, model: str, eval_set: EvalSet) -> bool:
        """Whether a model is scored on a set with a zero-shot head."""
        return model not in self._with_head or eval_set.ignores_head

    @torch.no_grad()
    def update(self, batch: Batch, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        columns, eval_set = getattr(self, f"columns_{set_index}", None), self.eval_sets[set_index]
        for name, model in self._models.items():
            head = self._heads[name, eval_set.texts] if self._is_zero_shot(name, eval_set) else None
            logits = image_logits(model, head, batch.images, columns, self.logits_in_bf16)
            labels = batch.labels
            if (neighbours := self._neighbours.get((name, set_index))) is not None:
                neighbours.update(logits, batch.indices)
                labels = neighbours.best_labels(logits, labels, batch.indices)
            self._metrics[name][set_index].update(logits, labels)
            if name in self.temperatures:
                self.temperatures[name].update(set_index, logits, labels)  # type: ignore[operator]

    def score(self, model: str, set_index: int) -> tuple[dict[str, Any], Details]:
        """Metrics of a model on the data set at that place, and the counts that they are made of."""
        values, details = self._metrics[model][set_index].compute()
        if (neighbours := self._neighbours.get((model, set_index))) is not None:
            values[WITH_NEIGHBOURS] = neighbours.compute()
        return values, dict(details)

    def finish(self) -> dict[str, Scores]:
        """Scores of each model; releases models and heads."""
        results = super().finish()
        self._heads = {}
        return results


ERRORS = (
    Metric("error", "0-1 error", "error", better="lower"),
    Metric("macro_f1_error", "1 - macro-F1", "1-F1", better="lower"),
)
"""Metrics that :class:`ErrorSuite` has in addition."""


class ErrorSuite(ClassificationSuite):
    """Classification that is scored by its errors, as benchmarks whose metrics are better when lower do.

    Arguments are those of :class:`ClassificationSuite`.
    """

    metrics = (*ERRORS, *CLASSIFICATION)

    def score(self, model: str, set_index: int) -> tuple[dict[str, Any], Details]:
        """Metrics of a model on the data set at that place, and the counts that they are made of."""
        values, details = super().score(model, set_index)
        for error, name in (("error", "accuracy"), ("macro_f1_error", "macro_f1")):
            values[error] = None if values[name] is None else 1 - values[name]
        return values, details
