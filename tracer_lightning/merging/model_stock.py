"""Model Stock: average fine-tuned models and interpolate towards their start (Jang et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tracer_lightning.merging.weights import Weights, average, blend, check_mergeable, common_type


class Ratio(NamedTuple):
    """Agreement of the fine-tuned models on one tensor, and the resulting share of their mean."""

    cosine: float
    """Mean cosine of the pairs of task vectors, in [-1, 1]."""
    ratio: float
    """Share t of the mean, in [0, 1]."""


def stock_ratio(cosine: float, n: int) -> float:
    """Share of the mean, t = n cos / (1 + (n - 1) cos), in [0, 1].

    For a negative cosine the formula leaves [0, 1], and the merged weights would lie beyond the start, away from the
    mean. Then t is 0, and the weights stay at the start.

    Args:
        cosine: mean cosine of all pairs, in [-1, 1].
        n: number of models, at least 2.
    """
    if cosine <= 0.0:
        return 0.0
    return min(1.0, n * cosine / (1.0 + (n - 1) * cosine))


def mean_cosine(vectors: Sequence[Tensor]) -> float | None:
    """Mean cosine of all pairs of vectors; None if all are zero.

    A zero vector has no direction and counts as orthogonal to all others. The sum u of n unit vectors has
    |u|^2 = n + n (n - 1) mean cosine, which needs one pass.

    Args:
        vectors: two or more tensors of the same shape, in float64.
    """
    total, nonzero = torch.zeros_like(vectors[0]), 0
    for vector in vectors:
        norm = vector.norm()
        if norm > 0:
            total += vector / norm
            nonzero += 1
    if nonzero < 2:
        return 0.0 if nonzero else None
    return (float(total.square().sum()) - nonzero) / (len(vectors) * (len(vectors) - 1))


@torch.no_grad()
def model_stock(start: Weights, tuned: Sequence[Weights]) -> tuple[dict[str, Tensor], dict[str, Ratio]]:
    """Merge each tensor as t mean + (1 - t) start, where t depends on the cosine of the task vectors w_i - start.

    It is computed in float64. Tensors that no model has changed stay as they are and have no ratio; integer tensors are
    those of the first fine-tuned model and have none either.

    Args:
        start: theta_0.
        tuned: two or more models that were fine-tuned from it.

    Returns:
        The merged weights in their common dtypes, and the ratio of each merged tensor.

    Raises:
        ValueError: there are fewer than two models, or they are not of one architecture.
    """
    if len(tuned) < 2:
        raise ValueError(f"tuned must hold two models or more, found {len(tuned)}")
    for number, model in enumerate(tuned, 1):
        check_mergeable(start, model, ("theta_0", f"model {number}"))
    merged: dict[str, Tensor] = {}
    ratios: dict[str, Ratio] = {}
    for name, value in start.items():
        finals = [model[name] for model in tuned]
        if not value.is_floating_point():
            merged[name] = finals[0]
            continue
        cosine = mean_cosine([final.double() - value for final in finals])
        if cosine is not None:
            ratios[name] = Ratio(cosine, stock_ratio(cosine, len(finals)))
        share = ratios[name].ratio if name in ratios else 0.0
        merged[name] = blend(value, average(finals), share).to(common_type([value, *finals]))
    return merged, ratios
