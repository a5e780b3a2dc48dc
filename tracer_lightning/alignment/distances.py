"""Distances of target samples to source samples, which stage 1 minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from tracer_lightning.functional.transport import (
    gaussian_label_costs,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein,
)

Method = Literal["exact", "sinkhorn", "sliced"]
METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "exact": wasserstein,
    "sinkhorn": sinkhorn_divergence,
    "sliced": sliced_wasserstein,
}
"""The distance of two samples by how it is computed."""


def feature_distance(
    points: Tensor, labels: Tensor, source_points: Tensor, source_labels: Tensor, method: Method = "exact"
) -> Tensor:
    """Squared 2-Wasserstein distance of the points, whatever their labels (FA of RECRAFT; Tran et al., 2026).

    The released code takes the debiased Sinkhorn divergence of the mean tokens.

    Args:
        points: (N, D) of target samples.
        labels: (N,) target labels, unused.
        source_points: (M, D) of source samples.
        source_labels: (M,) source labels, unused.
        method: ``exact``, or an approximation: ``sinkhorn`` (debiased, as in the released code) or ``sliced``.
    """
    del labels, source_labels
    return METHODS[method](points, source_points)


def dataset_distance(
    points: Tensor, labels: Tensor, source_points: Tensor, source_labels: Tensor, method: Method = "exact"
) -> Tensor:
    """Optimal-transport dataset distance, in whose costs classes are diagonal Gaussians (ORCA; Shen et al., 2023).

    The released code transports one target class at a time, and Gaussians with full covariances.

    Args:
        points: (N, D) of target samples.
        labels: (N,) target labels.
        source_points: (M, D) of source samples.
        source_labels: (M,) source labels.
        method: ``exact``, the only one with costs of classes.

    Raises:
        ValueError: another method.
    """
    if method != "exact":
        raise ValueError(f"distance must be exact where classes have costs, got {method}")
    costs = gaussian_label_costs(points, labels, source_points, source_labels)
    return wasserstein(points, source_points, costs)
