"""Metrics of the answers of one model on one data set."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tracer_lightning.evaluation.calibration import CalibrationBins, expected_calibration_error
from tracer_lightning.evaluation.distractors import Pair, begins_with, distractor_tokens
from tracer_lightning.types import IGNORE_INDEX, AnswerLogits, Conversations

DISTRACTOR_RATE = "distractor_rate"
Tokens = tuple[int, ...]


def mean_f1(support: Counter[int], right: Counter[int], predicted: Counter[int]) -> float:
    """Mean F1 over the distinct answers that samples have; 0 without samples.

    Args:
        support: number of samples with each answer.
        right: number of samples with each answer that are right.
        predicted: number of predictions of each answer.
    """
    f1 = [2 * right[label] / (predicted[label] + support[label]) for label in sorted(support)]
    return sum(f1) / max(1, len(f1))


def distractor_counts(samples: int, chosen: int) -> dict[str, dict[str, int]]:
    """Entry of a set's details: number of samples with a distractor, and of those that chose it; none without any."""
    return {"distractors": {"n": samples, "chosen": chosen}} if samples else {}


def _pairs(answers: AnswerLogits, predicted: Tensor) -> dict[int, list[Pair]]:
    """True and predicted tokens of each sample with targets."""
    pairs: dict[int, list[Pair]] = {}
    for sample, *pair in torch.stack((answers.sample, answers.targets, predicted)).T.tolist():
        pairs.setdefault(sample, []).append(Pair(*pair))
    return pairs


class _Tally:
    """Counts of samples that ranks exchange."""

    def __init__(self) -> None:
        self.tokens: dict[int, Tokens] = {}
        """Tokens of each distinct answer, by its index."""
        self.support: Counter[int] = Counter()
        """Number of samples with each answer."""
        self.right: Counter[int] = Counter()
        """Number of samples with each answer that are right."""
        self.mistakes: Counter[tuple[int, int, int]] = Counter()
        """Number of wrong samples by true answer, place of the first wrong token, and that token."""
        self.with_distractor = 0
        self.distracted = 0

    def add(self, tally: _Tally) -> None:
        """Add the counts of another rank."""
        self.tokens |= tally.tokens
        self.support += tally.support
        self.right += tally.right
        self.mistakes += tally.mistakes
        self.with_distractor += tally.with_distractor
        self.distracted += tally.distracted


class AnswerMetrics(nn.Module):
    """Exact matches, calibration, macro-F1 and chosen distractors of a whole data set, exact over ranks.

    A sample is right if each token of its answer, the end of the turn included, is the most probable one given those
    before. This takes one forward pass, and equals greedy generation and exact match. Its confidence is the product of
    the largest probabilities at the answer's tokens, given the true ones before.

    Macro-F1 is the mean over the distinct answers of the data set. A wrong sample counts as a prediction of the only
    answer that begins with its tokens up to the first wrong one, or of none.

    The distractor rate is the share, of the samples with a distractor, of those whose greedy answer begins with the
    distractor. A second forward pass is needed where the predictions along the true answer don't tell.

    Args:
        answers: number of distinct answers of the data set.
    """

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.answers = answers
        self.bins = CalibrationBins()
        self._tally = _Tally()

    def update(self, answers: AnswerLogits, batch: Conversations) -> list[int]:
        """Take in the logits of a batch; samples without answered tokens are padding.

        Returns:
            Rows whose greedy answer may begin with the distractor: :meth:`update_distracted` takes in the rest.
        """
        rows = len(batch.answers)
        highest, predicted = answers.logits.log_softmax(dim=-1).max(dim=-1)  # (T,)
        wrong = (predicted != answers.targets).double()
        mistakes = wrong.new_zeros(rows).index_add_(0, answers.sample, wrong)
        confidence = wrong.new_zeros(rows).index_add_(0, answers.sample, highest.double()).exp()
        counted = torch.bincount(answers.sample, minlength=rows) > 0
        label = (mistakes > 0).long().masked_fill(~counted, IGNORE_INDEX)
        self.bins.update(confidence[:, None], label)  # of one class, which is right where the label is 0
        classes, distractors = batch.answers.tolist(), distractor_tokens(batch)
        undecided = []
        for sample, pairs in _pairs(answers, predicted).items():
            self._count(classes[sample], pairs)
            if distractor := distractors[sample]:
                is_distracted = begins_with(distractor, pairs)
                self._tally.with_distractor += 1
                self._tally.distracted += bool(is_distracted)
                if is_distracted is None:
                    undecided.append(sample)
        return undecided

    def update_distracted(self, distractors: AnswerLogits) -> None:
        """Take in the logits along the distractors of the rows that were undecided."""
        pairs_of_samples = _pairs(distractors, distractors.logits.argmax(dim=-1)).values()
        self._tally.distracted += sum(all(true == guess for true, guess in pairs) for pairs in pairs_of_samples)

    def _count(self, answer: int, pairs: list[Pair]) -> None:
        """Count a sample with its true and predicted tokens."""
        tally = self._tally
        tally.tokens[answer] = tuple(target for target, _ in pairs)
        tally.support[answer] += 1
        place = next((place for place, (target, prediction) in enumerate(pairs) if target != prediction), None)
        if place is None:
            tally.right[answer] += 1
        else:
            tally.mistakes[answer, place, pairs[place][1]] += 1

    def compute(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return scores in [0, 1] with the number ``n`` of samples, and the counts behind them.

        The scores are ``accuracy``, ``ece`` and ``macro_f1``, None without samples, and ``distractor_rate`` where
        there are distractors.
        """
        tally = self._gathered()
        bins, n, right = self.bins.compute(), tally.support.total(), tally.right.total()
        predicted = tally.right + self._predicted(tally)
        scores: dict[str, Any] = {
            "accuracy": right / max(1, n),
            "ece": expected_calibration_error(bins),
            "macro_f1": mean_f1(tally.support, tally.right, predicted),
        }
        scores = {"n": n, **(scores if n else dict.fromkeys(scores))}
        if tally.with_distractor:
            scores[DISTRACTOR_RATE] = tally.distracted / tally.with_distractor
        return scores, {
            "classes": {
                "n": [tally.support[label] for label in range(self.answers)],
                "correct": [tally.right[label] for label in range(self.answers)],
            },
            "bins": dict(zip(("n", "correct", "confidence"), bins.T.tolist(), strict=True)),
            **distractor_counts(tally.with_distractor, tally.distracted),
        }

    def _gathered(self) -> _Tally:
        """Counts of all ranks."""
        if not (dist.is_available() and dist.is_initialized()):
            return self._tally
        tallies: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(tallies, self._tally)
        total = _Tally()
        for tally in tallies:
            total.add(tally)
        return total

    @staticmethod
    def _predicted(tally: _Tally) -> Counter[int]:
        """Number of wrong samples that are predictions of each answer."""
        beginnings: dict[Tokens, set[int]] = {}
        for label, tokens in tally.tokens.items():
            for length in range(1, len(tokens) + 1):
                beginnings.setdefault(tokens[:length], set()).add(label)
        predicted: Counter[int] = Counter()
        for (label, place, token), number in tally.mistakes.items():
            candidates = beginnings.get((*tally.tokens[label][:place], token), set())
            if len(candidates) == 1:
                predicted[next(iter(candidates))] += number
        return predicted

    def reset(self) -> None:
        """Forget everything."""
        self.bins.reset()
        self._tally = _Tally()
