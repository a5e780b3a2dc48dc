"""Distances of two samples by optimal transport, exact, regularized and sliced, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

REGULARIZATION = 0.1
"""Entropic regularization of Sinkhorn's algorithm, in units of the mean cost."""
SINKHORN_ITERATIONS = 200
EXACT_ITERATIONS = 100_000_000
"""Limit that no exact plan needs; POT's own ends plans of thousands of samples before they are optimal."""
PROJECTIONS = 128
"""Number of directions of a sliced distance."""


def _optimal_transport() -> Any:
    """The library POT, which only this module needs."""
    try:
        import ot
    except ImportError as error:
        raise ValueError("distances by optimal transport need POT: pip install 'tracer-lightning[cross]'") from error
    return ot


def wasserstein(first: Tensor, second: Tensor, label_costs: Tensor | None = None) -> Tensor:
    """Squared 2-Wasserstein distance of two samples, at the exact optimal plan (POT's ``emd``).

    Args:
        first: (N, D) points of equal weight.
        second: (M, D) points of equal weight.
        label_costs: (N, M) costs of the pairs' labels, added to their squared distances; None for none.

    Returns:
        () distance, whose gradient is that of the costs at this plan.
    """
    costs = _squared_distances(first, second)
    return _cheapest(costs if label_costs is None else costs + label_costs)


def wasserstein_1(first: Tensor, second: Tensor) -> Tensor:
    """1-Wasserstein distance of two samples, at the exact optimal plan.

    Args:
        first: (N, D) points of equal weight.
        second: (M, D) points of equal weight.

    Returns:
        () distance, which the means of no function of Lipschitz constant 1 exceed in their difference.
    """
    return _cheapest(torch.cdist(first, second))


def _cheapest(costs: Tensor) -> Tensor:
    """Mean cost () at the optimal plan of costs (N, M) (POT's ``emd``)."""
    fixed = costs.detach()
    weights = (torch.full_like(fixed[:, 0], 1 / len(costs)), torch.full_like(fixed[0], 1 / costs.shape[1]))
    plan: Tensor = _optimal_transport().emd(*weights, fixed, numItermax=EXACT_ITERATIONS)  # (N, M)
    return (plan * costs).sum()  # not emd2, which makes 0 of costs that are NaN


def sinkhorn_divergence(first: Tensor, second: Tensor) -> Tensor:
    """Debiased entropic approximation of the squared 2-Wasserstein distance (Feydy et al., 2019), by POT.

    It is S(a, b) = W(a, b) - W(a, a) / 2 - W(b, b) / 2 of the costs at the regularized plans, 0 for equal samples.

    Args:
        first: (N, D) points of equal weight.
        second: (M, D) points of equal weight.

    Returns:
        () divergence, whose gradient is that of the costs at these plans.
    """
    scale = _squared_distances(first, second).mean().detach()
    return _entropic(first, second, scale) - (_entropic(first, first, scale) + _entropic(second, second, scale)) / 2


def _entropic(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """Mean cost () at the plan that is regularized by a share of ``scale``."""
    costs = _squared_distances(first, second)
    fixed = costs.detach().double() / scale
    weights = (torch.full_like(fixed[:, 0], 1 / len(first)), torch.full_like(fixed[0], 1 / len(second)))
    plan: Tensor = _optimal_transport().sinkhorn(
        *weights, fixed, REGULARIZATION, method="sinkhorn_log", numItermax=SINKHORN_ITERATIONS, warn=False
    )
    return (plan.to(costs.dtype) * costs).sum()


def sliced_wasserstein(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared 2-Wasserstein distance of projections on random directions (Bonneel et al., 2015), by POT.

    It is multiplied by D, so that it is the squared distance of two points, in the mean over directions, which are
    drawn from torch's generator of the CPU.

    Args:
        first: (N, D) points of equal weight.
        second: (M, D) points of equal weight.

    Returns:
        () distance.
    """
    width = first.shape[1]
    directions = torch.nn.functional.normalize(torch.randn(width, PROJECTIONS), dim=0).to(first)
    distances: Tensor = _optimal_transport().wasserstein_1d(first @ directions, second @ directions, p=2)
    return width * distances.mean()


def gaussian_label_costs(first: Tensor, first_labels: Tensor, second: Tensor, second_labels: Tensor) -> Tensor:
    """Squared 2-Wasserstein distances of the classes, each taken for a Gaussian with a diagonal covariance.

    With them, :func:`wasserstein` is the optimal-transport dataset distance in its Gaussian approximation
    (Alvarez-Melis and Fusi, 2020), here with diagonal covariances.

    Args:
        first: (N, D) points.
        first_labels: (N,) their classes.
        second: (M, D) points.
        second_labels: (M,) their classes, of which none need be among the first.

    Returns:
        (N, M) distance of the classes of each pair of points.
    """
    first_means, first_deviations, first_rows = _class_moments(first, first_labels)
    second_means, second_deviations, second_rows = _class_moments(second, second_labels)
    costs = _squared_distances(first_means, second_means) + _squared_distances(first_deviations, second_deviations)
    return costs[first_rows][:, second_rows]


def _class_moments(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (C, D) and standard deviations (C, D) of the classes present, and the row of each point's class (N,)."""
    classes, rows = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    members = torch.nn.functional.one_hot(rows, len(classes)).to(points.dtype)  # (N, C)
    shares = members / members.sum(dim=0)
    means = shares.T @ points
    variances = shares.T @ (points - means[rows]).square()
    return means, (variances + 1e-6).sqrt(), rows  # a class of one point has no deviation, where the root has no slope


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) squared Euclidean distances of (N, D) and (M, D), without their (N, M, D) differences in memory."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").square()
