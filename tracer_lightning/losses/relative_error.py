"""The relative L2 error of predicted values."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.errors import relative_errors
from tracer_lightning.losses.values import ValueTerm


class RelativeError(ValueTerm):
    """‖ŷ - y‖ / ‖y‖ of each sample, mean over B (Li et al., 2021, for solutions of differential equations).

    The released code of ORCA and RECRAFT takes the sum over B, which makes its gradients B times as large.
    Samples whose y is zero everywhere have no such error, and count as 0.
    """

    def compare(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """See :class:`ValueTerm`."""
        errors, _ = relative_errors(outputs, targets, known)
        return errors.mean()
