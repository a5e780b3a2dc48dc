"""The kernel of the paper."""

from __future__ import annotations

import math

from tracer_lightning.kernels.base import check_progress


class BetaKernel:
    """Density of the symmetric Beta(beta, beta) distribution (TRACER, Definition 3.3).

    Below 1 it has poles at both ends, so that start and end of the trajectory weigh most; 1 is uniform; above 1 the
    middle weighs most.

    Args:
        beta: shape, > 0; 0.5 in the paper.
    """

    def __init__(self, beta: float = 0.5) -> None:
        if not (math.isfinite(beta) and beta > 0):
            raise ValueError(f"beta must be a finite number > 0, found {beta}")
        self.beta = beta
        self._log_normaliser = 2.0 * math.lgamma(beta) - math.lgamma(2.0 * beta)

    def __call__(self, progress: float) -> float:
        """Weight of the moment ``progress`` in (0, 1)."""
        check_progress(progress)
        log_density = (self.beta - 1.0) * (math.log(progress) + math.log1p(-progress))
        return math.exp(log_density - self._log_normaliser)
