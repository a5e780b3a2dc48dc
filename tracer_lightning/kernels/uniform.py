"""Uniform kernel, for the running mean."""

from __future__ import annotations

from tracer_lightning.kernels.base import check_progress


class UniformKernel:
    """Every moment weighs the same: the teacher is the running mean of the trajectory."""

    def __call__(self, progress: float) -> float:
        """Weight at ``progress`` in (0, 1)."""
        check_progress(progress)
        return 1.0
