"""Bottleneck adapter on features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _relu(values: Tensor) -> Tensor:
    """ReLU with derivative 1 at 0, unlike torch's, so that weights initialised as 0 receive gradients."""
    return torch.where(values >= 0, values, 0.0)


class FeatureAdapter(nn.Module):
    """(1 - ratio) x + ratio ReLU(W_2 ReLU(W_1 x)), without normalisation (CLIP-Adapter; Gao et al., 2024).

    Unlike in the paper, W_2 is initialised as 0, so that the features initially keep their direction.

    Args:
        width: width D of the features.
        hidden: width of the bottleneck.
        ratio: weight of the adapter's output.
    """

    def __init__(self, width: int, hidden: int, ratio: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.ratio = ratio

    def forward(self, features: Tensor) -> Tensor:
        """Adapt (N, D) features to (N, D)."""
        adapted = _relu(self.up(_relu(self.down(features))))
        return (1 - self.ratio) * features + self.ratio * adapted
