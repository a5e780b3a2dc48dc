"""Distances of target samples to source samples, which stage 1 minimises."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.transport import gaussian_label_costs, wasserstein


def feature_distance(points: Tensor, labels: Tensor, source_points: Tensor, source_labels: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of the points, whatever their labels (FA of RECRAFT; Tran et al., 2026).

    The released code takes the debiased Sinkhorn divergence of the mean tokens, and this is the exact distance.

    Args:
        points: (N, D) of target samples.
        labels: (N,) target labels, unused.
        source_points: (M, D) of source samples.
        source_labels: (M,) source labels, unused.
    """
    del labels, source_labels
    return wasserstein(points, source_points)


def dataset_distance(points: Tensor, labels: Tensor, source_points: Tensor, source_labels: Tensor) -> Tensor:
    """Optimal-transport dataset distance, in whose costs classes are diagonal Gaussians (ORCA; Shen et al., 2023).

    The released code transports one target class at a time, and Gaussians with full covariances.

    Args:
        points: (N, D) of target samples.
        labels: (N,) target labels.
        source_points: (M, D) of source samples.
        source_labels: (M,) source labels.
    """
    costs = gaussian_label_costs(points, labels, source_points, source_labels)
    return wasserstein(points, source_points, costs)
