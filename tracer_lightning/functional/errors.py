"""Errors of predicted values."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_errors(outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """‖ŷ - y‖ / ‖y‖ of each sample, over what is known of it.

    Args:
        outputs: (B, ...) predictions ŷ.
        targets: (B, ...) values y to predict, finite.
        known: (B, ...) whether a value counts.

    Returns:
        (B,) errors; 0 for a sample of which nothing is known.
    """
    differences, norms = ((values * known).flatten(1).norm(dim=1) for values in (outputs - targets, targets))
    errors: Tensor = differences / norms.clamp(min=torch.finfo(norms.dtype).tiny)
    return errors
