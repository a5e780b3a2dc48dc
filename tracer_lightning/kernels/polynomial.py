"""Polynomial growth."""

from __future__ import annotations

from tracer_lightning.kernels.base import check_progress


class PolynomialKernel:
    """tau^p: later moments weigh more, but early ones are forgotten more slowly than by an exponential average.

    With an update at every step this approximates polynomial-decay averaging (Shamir & Zhang, 2013), which gives the
    student at step t the share (p + 1) / (t + p). This kernel's share differs by O(1 / t^2), as its weights are powers
    instead of rising factorials.

    Args:
        power: p, a finite number >= 0; 0 is uniform.
    """

    def __init__(self, power: float) -> None:
        if not 0.0 <= power < float("inf"):
            raise ValueError(
                f"power must be a finite number >= 0, found {power}; a BetaKernel can weigh the start most"
            )
        self.power = power

    def __call__(self, progress: float) -> float:
        """Weight at ``progress`` in (0, 1)."""
        check_progress(progress)
        return float(progress**self.power)
