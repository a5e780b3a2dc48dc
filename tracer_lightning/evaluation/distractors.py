"""Whether a model's greedy answer begins with the distractor, by one or two forward passes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from tracer_lightning.types import IGNORE_INDEX, Conversations

IDS, MASK = "input_ids", "attention_mask"


class Pair(NamedTuple):
    """A token of an answer."""

    true: int
    """The token."""
    predicted: int
    """The most probable token in its place, given the true ones before."""


def distractor_tokens(batch: Conversations) -> list[list[int]]:
    """Tokens of the distractor of each row; none where a row has no distractor."""
    return [[token for token in row if token != IGNORE_INDEX] for row in batch.distractors.tolist()]


def begins_with(distractor: Sequence[int], pairs: Iterable[Pair]) -> bool | None:
    """Whether greedy generation begins with the distractor, as far as the predictions along the true answer tell.

    They are also those along the distractor up to the first token in which it differs from the answer.

    Args:
        distractor: tokens of the distractor, with which the answer does not begin.
        pairs: tokens of the answer.

    Returns:
        None where only the predictions along the distractor tell.
    """
    for place, (true, predicted) in enumerate(pairs):
        if predicted != distractor[place]:
            return False
        if predicted != true:
            return True if place + 1 == len(distractor) else None
    return False


def with_distractors(batch: Conversations, rows: Sequence[int]) -> Conversations:
    """A batch in which these rows have the distractor in the place of their answer; only they have targets.

    Args:
        batch: conversations, padded on the right, whose last answers have targets.
        rows: rows with a distractor and an answer.
    """
    distractors = distractor_tokens(batch)
    starts = (batch.targets != IGNORE_INDEX).int().argmax(1).tolist()  # the position before the answer's first token
    ends = [starts[row] + 1 + len(distractors[row]) for row in rows]
    length = batch.targets.shape[1]
    extra = max([length, *ends]) - length
    per_token = [
        name
        for name, values in batch.inputs.items()
        if values.shape == batch.targets.shape and not values.is_floating_point()
    ]
    inputs = batch.inputs | {name: _lengthened(batch.inputs[name], extra) for name in per_token}
    inputs[MASK][:, length:] = 0
    targets = torch.full_like(_lengthened(batch.targets, extra), IGNORE_INDEX)
    for row, end in zip(rows, ends, strict=True):
        start = starts[row]
        for name in per_token:  # such as types of tokens, which are those of the answer's
            inputs[name][row, start + 1 :] = inputs[name][row, start + 1].clone()
        inputs[IDS][row, start + 1 : end] = targets.new_tensor(distractors[row])
        targets[row, start : end - 1] = inputs[IDS][row, start + 1 : end]
        inputs[MASK][row, end:] = 0
    return batch._replace(inputs=inputs, targets=targets)


def _lengthened(values: Tensor, extra: int) -> Tensor:
    """A copy of (B, L) values in which the last column is repeated that many times."""
    return torch.cat((values, values[:, -1:].expand(-1, extra)), dim=1)


def is_true_anywhere(value: bool, device: torch.device) -> bool:
    """Whether a value is true on any rank; every rank must ask."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return value
    flag = torch.tensor(float(value), device=device)
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)
