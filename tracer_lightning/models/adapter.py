"""A bottleneck on features."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _relu(values: Tensor) -> Tensor:
    """ReLU with derivative 1 at 0, where torch's is 0: what begins at 0 can be learned."""
    return torch.where(values >= 0, values, 0.0)


class FeatureAdapter(nn.Module):
    """(1 - ratio) x + ratio ReLU(W_2 ReLU(W_1 x)), normalised by who asks (CLIP-Adapter; Gao et al., 2024).

    Unlike there W_2 begins as 0, so that the direction of the features is what it was.

    Args:
        width: D.
        hidden: width of the bottleneck.
        ratio: share of the adapter.
    """

    def __init__(self, width: int, hidden: int, ratio: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.up.weight)
        self.ratio = ratio

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) of (N, D) features."""
        adapted = _relu(self.up(_relu(self.down(features))))
        return (1 - self.ratio) * features + self.ratio * adapted
