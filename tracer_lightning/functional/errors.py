"""Errors of predicted values."""

from __future__ import annotations

from torch import Tensor


def relative_errors(outputs: Tensor, targets: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """‖ŷ - y‖ / ‖y‖ of each sample, over what is known of it.

    Args:
        outputs: (B, ...) predictions ŷ.
        targets: (B, ...) values y to predict, finite.
        known: (B, ...) whether a value counts.

    Returns:
        (B,) errors, and (B,) whether a sample has one: 0 and False where its y is zero everywhere, or unknown.
    """
    differences, norms = (
        values.masked_fill(~known, 0.0).flatten(1).norm(dim=1) for values in (outputs - targets, targets)
    )
    defined = norms > 0
    return (differences / norms.masked_fill(~defined, 1.0)).masked_fill(~defined, 0.0), defined
