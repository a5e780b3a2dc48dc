"""Moving averages of lists of tensors, in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _like(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> list[Tensor]:
    return [source.to(target.dtype) for source, target in zip(sources, targets, strict=True)]


@torch.no_grad()
def lerp_(averages: Sequence[Tensor], values: Sequence[Tensor], weight: float) -> None:
    """Update average <- (1 - weight) average + weight value for each pair.

    Args:
        averages: tensors, changed in place.
        values: tensors of the same shapes, cast to the dtype of their average.
        weight: share of the new value, in [0, 1].
    """
    if averages:
        torch._foreach_lerp_(list(averages), _like(values, averages), weight)


@torch.no_grad()
def compensated_lerp_(
    averages: Sequence[Tensor], compensations: Sequence[Tensor], values: Sequence[Tensor], weight: float
) -> None:
    """Update averages like :func:`lerp_`, with Kahan summation: rounding errors of one step are added in the next.

    Without it an average that is far larger than its increments does not move: a LayerNorm gain averaged in plain fp32
    loses a quarter of its displacement over 25,000 steps.

    Args:
        averages: tensors, changed in place.
        compensations: tensors of the same shapes and dtypes, changed in place; initially zero.
        values: tensors of the same shapes.
        weight: share of the new value, in [0, 1].
    """
    if not averages:
        return
    averages, compensations = list(averages), list(compensations)
    increments = torch._foreach_sub(_like(values, averages), averages)
    torch._foreach_mul_(increments, weight)
    torch._foreach_sub_(increments, compensations)
    sums = torch._foreach_add(averages, increments)
    errors = torch._foreach_sub(sums, averages)
    torch._foreach_sub_(errors, increments)
    torch._foreach_copy_(compensations, errors)
    torch._foreach_copy_(averages, sums)
