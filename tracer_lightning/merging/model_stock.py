"""Model Stock: few fine-tuned models, averaged and drawn back to their start (Jang et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tracer_lightning.merging.weights import Weights, average, blend, check_alike, common_type


class Ratio(NamedTuple):
    """How far the fine-tuned models agree on one tensor, and how much of their mean is taken."""

    cosine: float
    """Mean cosine of the pairs of task vectors, in [-1, 1]."""
    ratio: float
    """t in [0, 1]."""


def stock_ratio(cosine: float, n: int) -> float:
    """Share of the mean, t = n cos / (1 + (n - 1) cos), in [0, 1].

    The formula leaves [0, 1] where the cosine is negative: the merged weights would lie beyond the start, away from the
    mean of models that pull against each other. There t is 0, and the start stays.

    Args:
        cosine: mean of all pairs, in [-1, 1].
        n: number of models, at least 2.
    """
    if cosine <= 0.0:
        return 0.0
    return min(1.0, n * cosine / (1.0 + (n - 1) * cosine))


def mean_cosine(vectors: Sequence[Tensor]) -> float | None:
    """Mean cosine of all pairs of vectors; None where all are zero.

    A zero vector has no direction, and counts as at right angles to all others. n unit vectors sum
    to u with |u|^2 = n + n (n - 1) mean cosine, which takes one pass.

    Args:
        vectors: two or more, of one shape, in float64.
    """
    total, directed = torch.zeros_like(vectors[0]), 0
    for vector in vectors:
        norm = vector.norm()
        if norm > 0:
            total += vector / norm
            directed += 1
    if directed < 2:
        return 0.0 if directed else None
    return (float(total.square().sum()) - directed) / (len(vectors) * (len(vectors) - 1))


@torch.no_grad()
def model_stock(start: Weights, tuned: Sequence[Weights]) -> tuple[dict[str, Tensor], dict[str, Ratio]]:
    """Each tensor w = t mean + (1 - t) start, where t follows from how far the task vectors w_i - start agree.

    Computed in float64. Tensors that no model has changed stay exactly as they were, and have no ratio; nor have
    tensors of integers, which are those of the first fine-tuned model.

    Args:
        start: theta_0.
        tuned: two or more models that were fine-tuned from it.

    Returns:
        The merged weights, of their types, and the ratio of each tensor that was merged.

    Raises:
        ValueError: there are fewer than two models, or they are not of one architecture.
    """
    if len(tuned) < 2:
        raise ValueError(f"model_stock takes two models or more, found {len(tuned)}")
    for number, model in enumerate(tuned, 1):
        check_alike(start, model, ("theta_0", f"model {number}"))
    merged: dict[str, Tensor] = {}
    ratios: dict[str, Ratio] = {}
    for name, value in start.items():
        ends = [model[name] for model in tuned]
        if not value.is_floating_point():
            merged[name] = ends[0]
            continue
        cosine = mean_cosine([end.double() - value for end in ends])
        if cosine is not None:
            ratios[name] = Ratio(cosine, stock_ratio(cosine, len(ends)))
        share = ratios[name].ratio if name in ratios else 0.0
        merged[name] = blend(value, average(ends), share).to(common_type([value, *ends]))
    return merged, ratios
