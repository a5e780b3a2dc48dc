"""Similarity of two representations of the same inputs: linear CKA and SVCCA, from sums over the inputs.

All measures are computed from :func:`moments`, which can be summed over batches and processes. One pass gives the
estimates on a whole dataset without an N x N kernel, and on each batch those that the minibatch estimator averages.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_INPUTS = 4
"""Smallest number of inputs of the unbiased estimate."""


def with_norms(x: Tensor) -> Tensor:
    """Extend each row x of (N, D) to [x, |x|², 1], (N, D + 2)."""
    return torch.cat([x, x.square().sum(dim=1, keepdim=True), torch.ones_like(x[:, :1])], dim=1)


def moments(x: Tensor, y: Tensor) -> Tensor:
    """Sums Σ [x, |x|², 1]ᵀ [y, |y|², 1] over inputs, from which linear CKA and CCA are computed.

    The measures do not change if a constant vector is subtracted from x or y; one close to their means avoids
    cancellation.

    Args:
        x: (N, D) in double precision.
        y: (N, E) in double precision, of the same inputs.

    Returns:
        (D + 2, E + 2), additive over inputs.
    """
    return with_norms(x).T @ with_norms(y)


def hsic(sums: Tensor) -> Tensor:
    """Unbiased estimate of the Hilbert-Schmidt independence criterion with linear kernels K = X Xᵀ and L = Y Yᵀ.

    HSIC_1 of Song et al. (2012, eq. 5; Nguyen et al. 2021, eq. 3), K~ and L~ without their diagonals:
    [tr(K~ L~) + 1ᵀK~1 1ᵀL~1 / ((n-1)(n-2)) - 2/(n-2) 1ᵀK~L~1] / (n (n-3)). The kernels are linear, so that
    tr(K~ L~) = ‖XᵀY‖² - Σ|x|²|y|², and so on: no kernel is computed.

    Args:
        sums: (D + 2, E + 2) :func:`moments` of n >= 4 inputs.

    Returns:
        () estimate of any sign, close to zero for independent representations.
    """
    products, n = sums[:-2, :-2], sums[-1, -1]
    x, y, x_norm, y_norm = sums[:-2, -1], sums[-1, :-2], sums[-2, -1], sums[-1, -2]
    diagonal = sums[-2, -2]  # Σ |x|²|y|²
    trace = products.square().sum() - diagonal
    totals = (x.square().sum() - x_norm) * (y.square().sum() - y_norm)
    rows = x @ products @ y - x @ sums[:-2, -2] - sums[-2, :-2] @ y + diagonal
    return (trace + totals / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3))


def cka(xy: Tensor, xx: Tensor, yy: Tensor) -> Tensor:
    """Centred kernel alignment (Kornblith et al. 2019, eq. 2) from HSICs or their sums over minibatches.

    With sums it is the minibatch estimator of Nguyen et al. (2021, eq. 2).

    Args:
        xy: () HSIC of both representations.
        xx: () of the first with itself.
        yy: () of the second with itself.

    Returns:
        () alignment; NaN if a representation has no variance. Estimates may lie slightly outside [0, 1].
    """
    return torch.where((xx > 0) & (yy > 0), xy / (xx * yy).abs().sqrt(), torch.nan)


def covariance(sums: Tensor) -> Tensor:
    """Σ (x - mean)(y - mean)ᵀ (D, E) from :func:`moments` (D + 2, E + 2)."""
    return sums[:-2, :-2] - torch.outer(sums[:-2, -1], sums[-1, :-2]) / sums[-1, -1]


def whitening(own: Tensor, share: float) -> Tensor:
    """Projection on the fewest principal directions that explain a share of the variance, each scaled to variance one.

    Args:
        own: (D, D) covariance of a representation with itself.
        share: share of the variance, below 1, which excludes directions that consist of rounding errors.

    Returns:
        (D, K) projection.
    """
    values, vectors = torch.linalg.eigh(own)
    values, vectors = values.flip(0), vectors.flip(1)
    before = values.cumsum(dim=0) - values
    kept = before < share * values.sum()
    directions: Tensor = vectors[:, kept] / values[kept].sqrt()
    return directions


def mean_canonical_correlation(cross: Tensor, whitening_x: Tensor, whitening_y: Tensor) -> Tensor:
    """Mean of the canonical correlations of two projected representations; SVCCA with 99 % of their variance.

    The mean is over the smaller of the two numbers of directions (Raghu et al. 2017, section 2.1).

    Args:
        cross: (D, E) covariance of both.
        whitening_x: (D, K) projection of the first.
        whitening_y: (E, L) projection of the second.

    Returns:
        () mean in [0, 1]; NaN if one of them has no variance.
    """
    correlations: Tensor = torch.linalg.svdvals(whitening_x.T @ cross @ whitening_y)
    return correlations.clamp(max=1.0).mean()
