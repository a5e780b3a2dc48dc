"""Evaluation of models that answer questions about images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from rich import box
from rich.table import Table
from torch import nn

from tracer_lightning.evaluation.answer_metrics import DISTRACTOR_RATE, AnswerMetrics
from tracer_lightning.evaluation.distractors import is_true_anywhere, with_distractors
from tracer_lightning.evaluation.generated_metrics import GeneratedMetrics
from tracer_lightning.evaluation.judges import RULES, Judge
from tracer_lightning.evaluation.suite import Suite
from tracer_lightning.scores import IMAGE_TITLES, TEXT_TITLES, Details, Metric, ScoreGrid, Scores, cell_name
from tracer_lightning.types import AnswerTexts, Conversations, QuestionSet

ACCURACY, ECE = "accuracy", "ece"
EXACT: Judge = "exact"
MISSING = "–"


class AnswerSuite(Suite):
    """Right answers per model and data set, and averages over the cells of the grid of images and texts.

    Args:
        eval_sets: the data sets, in the order of their loaders.
        models: names under which models may be evaluated.
        averages: as for :class:`Suite`, beside those of the cells.
        judge: rule by which an answer is right; all but ``exact`` generate answers, without a calibration error.
        max_new_tokens: maximum number of generated tokens of an answer.
        texts: texts of tokens and of the answers of each data set, for judges that generate.
    """

    metrics: tuple[Metric, ...] = (
        Metric(ACCURACY, "accuracy", "acc"),
        Metric(ECE, "ECE", "ECE", better="lower"),
        Metric("macro_f1", "macro-F1", "F1"),
        Metric(DISTRACTOR_RATE, "distractor chosen", "distr", better="lower", shown=False, averaged=False),
    )
    untrained = "zero_shot"

    def __init__(
        self,
        eval_sets: Sequence[QuestionSet],
        models: Sequence[str] = ("student",),
        averages: Mapping[str, Sequence[str]] | None = None,
        judge: Judge = EXACT,
        max_new_tokens: int = 32,
        texts: AnswerTexts | None = None,
    ) -> None:
        if judge != EXACT and judge not in RULES:
            raise ValueError(f"judge must be one of {', '.join((EXACT, *RULES))}, got {judge!r}")
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be >= 1, got {max_new_tokens}")
        cells: dict[str, list[str]] = {}
        for eval_set in eval_sets:
            cells.setdefault(cell_name(eval_set.image, eval_set.text), []).append(eval_set.name)
        super().__init__(eval_sets, {**(cells if len(cells) > 1 else {}), **(averages or {})})
        self.judge, self.max_new_tokens = judge, max_new_tokens
        self.metrics = self.declared_metrics({"judge": judge})
        self._metrics = {name: [self._make_metrics(eval_set, texts) for eval_set in eval_sets] for name in models}
        self._registered = nn.ModuleList(metrics for row in self._metrics.values() for metrics in row)

    def _make_metrics(self, eval_set: QuestionSet, texts: AnswerTexts | None) -> AnswerMetrics | GeneratedMetrics:
        if self.judge == EXACT:
            return AnswerMetrics(eval_set.answers)
        if texts is None:
            raise ValueError(f"judge {self.judge!r} needs texts, which the data module gives")
        return GeneratedMetrics(RULES[self.judge], texts.decode, texts.of_set(eval_set))

    @classmethod
    def declared_metrics(cls, settings: Mapping[str, Any]) -> tuple[Metric, ...]:
        """The metrics of a judge: generated answers have no confidence, and so no calibration error."""
        generates = settings.get("judge", EXACT) != EXACT
        return tuple(metric for metric in cls.metrics if not (generates and metric.name == ECE))

    def settings(self) -> dict[str, Any]:
        """The judge."""
        return {"judge": self.judge}

    def start(self, models: Mapping[str, Any], untrained: bool = False) -> None:
        """Begin an evaluation of these models: forget earlier batches."""
        super().start(models)
        for name in models:
            for metrics in self._metrics[name]:
                metrics.reset()

    @torch.no_grad()
    def update(self, batch: Conversations, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        for name, model in self._models.items():
            metrics: Any = self._metrics[name][set_index]
            if self.judge != EXACT:
                metrics.update(model.generate(batch, self.max_new_tokens), batch)
                continue
            undecided = metrics.update(model.answer(batch), batch)
            if is_true_anywhere(bool(undecided), batch.targets.device):  # sharded models run on all ranks or none
                metrics.update_distracted(model.answer(with_distractors(batch, undecided)))

    def score(self, model: str, set_index: int) -> tuple[dict[str, Any], Details]:
        """Metrics of a model on the data set at that place, and the counts that they are made of."""
        return self._metrics[model][set_index].compute()

    def grid(self) -> ScoreGrid | None:
        """Means by image (rows) and text (columns); None for a single cell."""
        images = _with_id_first(eval_set.image for eval_set in self.eval_sets)
        texts = _with_id_first(eval_set.text for eval_set in self.eval_sets)
        if len(images) * len(texts) == 1:
            return None
        names = [[cell_name(image, text) for text in texts] for image in images]
        return ScoreGrid(
            "images by texts",
            tuple(IMAGE_TITLES.get(image, image) for image in images),
            tuple(TEXT_TITLES.get(text, text) for text in texts),
            tuple(tuple(name if name in self.averages else None for name in row) for row in names),
        )

    def tables(self, results: Mapping[str, Scores | None]) -> list[Table]:
        """Return the grid: mean accuracy by image (rows) and text (columns) of each model; none for a single cell.

        Args:
            results: scores by name of the model, None where there is no such model.
        """
        grid = self.grid()
        if grid is None:
            return []
        scores = {name: values for name, values in results.items() if values}
        before = scores.get(self.untrained)
        table = Table("accuracy", "model", title=grid.title, box=box.SIMPLE, pad_edge=False)
        for column in grid.columns:
            table.add_column(column, justify="right")
        for row, averages in zip(grid.rows, grid.averages, strict=True):
            table.add_section()
            for name, values in scores.items():
                cells = [MISSING if average is None else _cell(values, before, average) for average in averages]
                table.add_row(row, name.replace("_", "-"), *cells)
        table.caption = "mean over the sets of each cell, in percent, with the change against zero-shot in points"
        if self.judge != EXACT:
            table.caption += f"; judge: {self.judge}"
        return [table]


def _with_id_first(values: Iterable[str]) -> list[str]:
    """Distinct values, ``id`` before all others."""
    return sorted(dict.fromkeys(values), key=lambda value: value != "id")


def _cell(scores: Scores, before: Scores | None, cell: str) -> str:
    """Accuracy of a cell, with its change."""
    value = scores[cell].get(ACCURACY)
    if value is None:
        return MISSING
    start = None if before is None or before is scores else before[cell][ACCURACY]
    return f"{100 * value:.1f}" if start is None else f"{100 * value:.1f} ({100 * (value - start):+.1f})"
