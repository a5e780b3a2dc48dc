"""Metrics of the generated answers of one model on one data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from tracer_lightning.evaluation.answer_metrics import DISTRACTOR_RATE, distractor_counts, mean_f1
from tracer_lightning.evaluation.distractors import distractor_tokens
from tracer_lightning.evaluation.judges import Rule
from tracer_lightning.types import IGNORE_INDEX, Conversations


class GeneratedMetrics(nn.Module):
    """Right answers, macro-F1 and chosen distractors of a whole data set, exact over ranks.

    A wrong sample counts as a prediction of the only other answer of the data set that its text gives, or of none. The
    distractor rate is the share, of the samples with a distractor, of those that are wrong and whose text gives the
    distractor by the same rule. There is no confidence, and so no calibration error.

    Args:
        rule: by which a generated text gives an answer.
        decode: tokens to text, as ``decode`` of a tokenizer of ``transformers``.
        answers: distinct answers of the data set.
    """

    def __init__(self, rule: Rule, decode: Callable[..., str], answers: Sequence[str]) -> None:
        super().__init__()
        self.rule, self.decode = rule, decode
        self.answers = [rule.read_answer(answer) for answer in answers]
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._counts: dict[str, Counter[Any]] = {
            name: Counter() for name in ("support", "right", "predicted", "distractors")
        }

    def update(self, tokens: Tensor, batch: Conversations) -> None:
        """Take in the generated tokens (B, N) of a batch; samples without a position are padding."""
        columns = (tokens, batch.indices, batch.answers)
        rows = zip(*(column.tolist() for column in columns), distractor_tokens(batch), strict=True)
        for ids, index, answer, distractor in rows:
            if index != IGNORE_INDEX:
                wrong = self.decode(distractor, skip_special_tokens=True) if distractor else None
                self._count(answer, self.decode(ids, skip_special_tokens=True), wrong)

    def _count(self, answer: int, text: str, distractor: str | None) -> None:
        """Count a sample with the index of its answer, its generated text, and its distractor, if any."""
        self._counts["support"][answer] += 1
        read = self.rule.read_text(text)
        is_right = self.rule.agree(read, self.answers[answer])
        if distractor is not None:
            is_distracted = not is_right and self.rule.agree(read, self.rule.read_answer(distractor))
            self._counts["distractors"][is_distracted] += 1
        if is_right:
            self._counts["right"][answer] += 1
            self._counts["predicted"][answer] += 1
            return
        agreeing = (label for label, candidate in enumerate(self.answers) if self.rule.agree(read, candidate))
        predictions = list(islice(agreeing, 2))
        if len(predictions) == 1:
            self._counts["predicted"][predictions[0]] += 1

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return scores in [0, 1] with the number ``n`` of samples, and the counts behind them.

        The scores are ``accuracy`` and ``macro_f1``, None without samples, and ``distractor_rate`` where there are
        distractors.
        """
        counts = self._counts_of_all_ranks()
        support, right, distractors = counts["support"], counts["right"], counts["distractors"]
        n = support.total()
        scores: dict[str, Any] = {"n": n, "accuracy": None, "macro_f1": None}
        if n:
            scores |= {"accuracy": right.total() / n, "macro_f1": mean_f1(support, right, counts["predicted"])}
        if distractors:
            scores[DISTRACTOR_RATE] = distractors[True] / distractors.total()
        labels = range(len(self.answers))
        classes = {"n": [support[label] for label in labels], "correct": [right[label] for label in labels]}
        return scores, {"classes": classes, **distractor_counts(distractors.total(), distractors[True])}

    def _counts_of_all_ranks(self) -> dict[str, Counter[Any]]:
        """Counts of all ranks."""
        if not (dist.is_available() and dist.is_initialized()):
            return self._counts
        counts_of_ranks: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(counts_of_ranks, self._counts)
        return {name: sum((counts[name] for counts in counts_of_ranks), Counter[Any]()) for name in self._counts}
