"""WiSE-FT: the line between the weights before fine-tuning and those after (Wortsman et al., 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from tracer_lightning.merging.weights import Weights, blend, check_alike


def check_alpha(alpha: float) -> None:
    """Raise ValueError unless alpha is a share."""
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1], found {alpha}")


@torch.no_grad()
def wise_ft(start: Weights, tuned: Weights, alpha: float = 0.5) -> dict[str, Tensor]:
    """(1 - alpha) start + alpha tuned: every parameter, the head included, and running statistics of BatchNorm.

    Computed in float64; exactly ``start`` at 0 and ``tuned`` at 1. Tensors of integers are as in :func:`blend`.

    Args:
        start: theta_0.
        tuned: theta_1.
        alpha: share of theta_1, in [0, 1].

    Returns:
        Weights of their types.

    Raises:
        ValueError: alpha is out of range, or the models are not of one architecture.
    """
    check_alpha(alpha)
    check_alike(start, tuned, ("theta_0", "theta_1"))
    return {name: blend(value, tuned[name], alpha) for name, value in start.items()}
