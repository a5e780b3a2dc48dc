"""Beta kernel, the kernel of the paper."""

from __future__ import annotations

import math

from tracer_lightning.kernels.base import check_progress


class BetaKernel:
    """Density of the Beta(alpha, beta) distribution, in the paper with alpha = beta (TRACER, Definition 3.3).

    ``alpha`` shapes the start of the trajectory and ``beta`` its end: below 1 the weight has a pole there, at 1 it is
    as flat as in the middle, above 1 it falls to 0. Beta(1, 1) is uniform, Beta(p + 1, 1) is tau^p and
    Beta(1, p + 1) is (1 - tau)^p. :func:`tracer_lightning.kernels.base.weight_at` gives the weight of a step.

    Args:
        beta: shape parameter of the end, > 0; 0.5 in the paper.
        alpha: shape parameter of the start, > 0; None for ``beta``.
    """

    def __init__(self, beta: float = 0.5, alpha: float | None = None) -> None:
        alpha = beta if alpha is None else alpha
        for name, shape in (("beta", beta), ("alpha", alpha)):
            if not (math.isfinite(shape) and shape > 0):
                raise ValueError(f"{name} must be a finite number > 0, found {shape}")
        self.alpha, self.beta = alpha, beta
        self._log_normaliser = math.lgamma(alpha) + math.lgamma(beta) - math.lgamma(alpha + beta)

    def __call__(self, progress: float) -> float:
        """Weight at ``progress`` in (0, 1)."""
        check_progress(progress)
        start, end = math.log(progress), math.log1p(-progress)
        # separate the symmetric part, so that a symmetric kernel is symmetric to the last bit
        log_density = (self.beta - 1.0) * (start + end) + (self.alpha - self.beta) * start
        return math.exp(log_density - self._log_normaliser)
