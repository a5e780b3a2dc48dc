"""The squared error of predicted values."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.losses.values import ValueTerm, mean_of_known


class SquaredError(ValueTerm):
    """(ŷ - y)², mean over all known values of the batch, in the square of the targets' unit."""

    def compare(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See :class:`ValueTerm`."""
        return mean_of_known((outputs - targets).square(), known)
