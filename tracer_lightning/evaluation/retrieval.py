"""Evaluation by retrieval, beside classification on labelled sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from rich import box
from rich.table import Table
from torch import Tensor, nn

from tracer_lightning.evaluation.classification import ClassificationSuite
from tracer_lightning.evaluation.retrieval_metrics import (
    CUTOFFS,
    DIRECTIONS,
    RetrievalMetrics,
    median_name,
    recall_name,
    score_names,
)
from tracer_lightning.evaluation.suite import Suite
from tracer_lightning.scores import CLASSIFICATION, RECALL, Details, Metric, Scores
from tracer_lightning.types import Batch, CaptionTokens, EvalSet

RETRIEVAL = (
    Metric(RECALL, "recall@1", "R@1"),
    *(
        Metric(
            recall_name(direction, cutoff),
            f"{title} recall@{cutoff}",
            direction if cutoff == 1 else f"{direction}@{cutoff}",
            shown=cutoff == 1,
        )
        for cutoff in CUTOFFS
        for direction, title in DIRECTIONS.items()
    ),
    *(
        Metric(median_name(direction), f"{title} median rank", f"{direction} med.", "lower", percent=False, shown=False)
        for direction, title in DIRECTIONS.items()
    ),
)
"""Metrics that :class:`RetrievalMetrics` computes, as tables and figures show them."""
MISSING = "–"


class RetrievalSuite(Suite):
    """Retrieval per model on sets of images with captions, and zero-shot classification on labelled sets.

    Args:
        eval_sets: the data sets, in the order of their loaders; labelled ones have classes of their own.
        captions: captions of each set of images with captions.
        models: names under which models may be evaluated.
        averages: as for :class:`Suite`.
        own_prompts: (C', P', L') tokens of every template for every class of each labelled set, by its name.
    """

    metrics = (*RETRIEVAL, *CLASSIFICATION)
    untrained = "zero_shot"

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        captions: Mapping[EvalSet, CaptionTokens],
        models: Sequence[str] = ("student",),
        averages: Mapping[str, Sequence[str]] | None = None,
        own_prompts: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__(eval_sets, averages)
        self._metrics = {
            (name, number): RetrievalMetrics(captions[eval_set])
            for name in models
            for number, eval_set in enumerate(eval_sets)
            if eval_set.retrieval
        }
        self._registered = nn.ModuleList(self._metrics.values())
        labelled = [eval_set for eval_set in eval_sets if not eval_set.retrieval]
        self._labelled_index = {eval_set: number for number, eval_set in enumerate(labelled)}
        no_prompts = torch.zeros(0, 1, 1, dtype=torch.long)  # labelled sets have classes of their own
        self.classification = ClassificationSuite(labelled, no_prompts, models, own_prompts=own_prompts)

    def start(self, models: Mapping[str, Any], untrained: bool = False) -> None:
        """Begin an evaluation of these models: encode captions and prompts, forget earlier batches."""
        super().start(models)
        self.classification.start(models, untrained)
        for (name, _), metrics in self._metrics.items():
            if name in models:
                metrics.start(models[name])

    @torch.no_grad()
    def update(self, batch: Batch, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        eval_set = self.eval_sets[set_index]
        if not eval_set.retrieval:
            self.classification.update(batch, self._labelled_index[eval_set])
            return
        for name, model in self._models.items():
            self._metrics[name, set_index].update(model.encode_image(batch.images), batch.indices)

    def score(self, model: str, set_index: int) -> tuple[dict[str, Any], Details]:
        """Metrics of a model on the data set at that place, and what they are made of."""
        eval_set = self.eval_sets[set_index]
        if not eval_set.retrieval:
            return self.classification.score(model, self._labelled_index[eval_set])
        return self._metrics[model, set_index].compute()

    def finish(self) -> dict[str, Scores]:
        """Scores of each model; releases the models."""
        results = super().finish()
        self.classification.start({})
        return results

    def tables(self, results: Mapping[str, Scores | None]) -> list[Table]:
        """Return all metrics of retrieval: a row for each set, direction and model.

        Args:
            results: scores by name of the model, None where there is no such model.
        """
        table = Table("data set", "direction", "model", title="retrieval", box=box.SIMPLE, pad_edge=False)
        for title in (*(f"R@{cutoff}" for cutoff in CUTOFFS), "median rank"):
            table.add_column(title, justify="right")
        for eval_set in self.eval_sets:
            for direction, title in DIRECTIONS.items() if eval_set.retrieval else ():
                table.add_section()
                for name, scores in results.items():
                    if scores is not None:
                        values = [scores[eval_set.name][metric] for metric in score_names(direction)]
                        table.add_row(eval_set.name, title, name.replace("_", "-"), *_cells(values))
        table.caption = "recall at 1, 5 and 10 in percent"
        return [table]


def _cells(values: Sequence[float | None]) -> list[str]:
    """Recalls in percent, and the median rank."""
    if None in values:
        return [MISSING] * len(values)
    *recalls, median = values
    return [*(f"{100 * recall:.1f}" for recall in recalls if recall is not None), f"{median:g}"]
