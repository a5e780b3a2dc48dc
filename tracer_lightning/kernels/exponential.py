"""Exponential growth, as in an EMA."""

from __future__ import annotations

import math

from tracer_lightning.kernels.base import check_progress

LARGEST_RATE = 700.0
"""Largest absolute rate for which weights are in the range of a double."""


class ExponentialKernel:
    """exp(rate (progress - 1)): recent moments weigh more, as in an exponential moving average.

    With an update at every step, rate -(T + 1) ln rho corresponds to momentum rho = exp(-rate / (T + 1)): the average
    is exactly the bias-corrected EMA, which treats theta_0 like any other student and gives the student at step t the
    share (1 - rho) / (1 - rho^(t + 1)). An EMA that starts at theta_0, such as
    :class:`tracer_lightning.teachers.EMATeacher`, has alpha_0 / (1 - rho) instead of alpha_0, as if the student had
    always been theta_0 before; their weights differ by less than rho^(t + 1).

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
        """Weight at ``progress`` in (0, 1)."""
        check_progress(progress)
        return math.exp(self.rate * (progress - 1.0))
