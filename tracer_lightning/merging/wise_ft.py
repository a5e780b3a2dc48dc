"""WiSE-FT: the line between the weights before fine-tuning and those after (Wortsman et al., 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from tracer_lightning.merging.weights import Weights, blend, check_mergeable


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless ``alpha`` lies in [0, 1]."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1], found {alpha}")


@torch.no_grad()
def wise_ft(start: Weights, tuned: Weights, alpha: float = 0.5) -> dict[str, Tensor]:
    """Interpolate (1 - alpha) start + alpha tuned for all parameters, the head and the running statistics of BatchNorm.

    It is computed in float64, and exactly ``start`` at alpha 0 and ``tuned`` at 1. Integer tensors are treated as in
    :func:`blend`.

    Args:
        start: theta_0.
        tuned: theta_1.
        alpha: share of theta_1, in [0, 1].

    Returns:
        The merged weights in the models' common dtypes.

    Raises:
        ValueError: alpha is out of range, or the models are not of one architecture.
    """
    check_alpha(alpha)
    check_mergeable(start, tuned, ("theta_0", "theta_1"))
    return {name: blend(value, tuned[name], alpha) for name, value in start.items()}
