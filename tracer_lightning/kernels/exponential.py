"""Exponential growth, as in an EMA."""

from __future__ import annotations

import math

from tracer_lightning.kernels.base import check_progress

LARGEST_RATE = 700.0
"""Beyond, weights leave the range of a double."""


class ExponentialKernel:
    """exp(rate (progress - 1)): recent moments weigh more, as in an exponential moving average.

    Constant momentum rho is the rate -(T + 1) ln rho, but for theta_0, which an EMA weighs 1 / (1 - rho) times as
    much (see :class:`tracer_lightning.teachers.EMATeacher`).

    Args:
        rate: growth over the whole run, in [-700, 700]; 0 is uniform.
    """

    def __init__(self, rate: float) -> None:
        if not abs(rate) <= LARGEST_RATE:
            raise ValueError(
                f"rate must lie in [-{LARGEST_RATE:g}, {LARGEST_RATE:g}], found {rate}; "
                "for a faster decay use an EMA teacher"
            )
        self.rate = rate

    def __call__(self, progress: float) -> float:
        """Weight of the moment ``progress`` in (0, 1)."""
        check_progress(progress)
        return math.exp(self.rate * (progress - 1.0))
