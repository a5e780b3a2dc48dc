"""Heads that predict values in place of classes: labels that may hold together, numbers, or the pixels of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tracer_lightning.functional.distributed import full_tensor


class ValueHead(nn.Linear):
    """mean + unit (W x + b) of normalised features x, where mean and unit are those of the training targets.

    The layer computes in units in which targets have mean 0 and variance 1, and the model predicts in their own.

    Args:
        width: width D of the features.
        values: number K of values.
    """

    mean: Tensor
    unit: Tensor

    def __init__(self, width: int, values: int) -> None:
        super().__init__(width, values)
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("unit", torch.ones(values))

    def rescale(self, values: Tensor) -> Tensor:
        """(B, K) from standardized to the targets' own units."""
        return self.mean + self.unit * values


class PixelHead(nn.Linear):
    """Pixels of a patch from its token: mean + unit (W LN(u) + b), of tokens u that leave the transformer.

    Args:
        width: width of the tokens.
        area: number of pixels of a patch.
        size: (H, W) of the map that is predicted.
    """

    mean: Tensor
    unit: Tensor

    def __init__(self, width: int, area: int, size: Sequence[int]) -> None:
        super().__init__(width, area)
        self.norm = nn.LayerNorm(width)
        self.register_buffer("mean", torch.zeros(*size))
        self.register_buffer("unit", torch.ones(()))

    def pixels(self, tokens: Tensor, patch: Sequence[int]) -> Tensor:
        """Predict maps.

        Args:
            tokens: (B, T, width) tokens, row by row of the grid of patches.
            patch: (P, Q) height and width of a patch; patches at the ends may exceed the map.

        Returns:
            (B, H, W) values in the targets' own units.
        """
        height, width = self.mean.shape
        norm = F.layer_norm(
            tokens, (self.in_features,), full_tensor(self.norm.weight), full_tensor(self.norm.bias), self.norm.eps
        )
        patches = F.linear(norm, full_tensor(self.weight), full_tensor(self.bias))  # (B, T, P * Q)
        rows, columns = -(-height // patch[0]), -(-width // patch[1])
        grid = patches.reshape(len(tokens), rows, columns, *patch)  # (B, rows, columns, P, Q)
        maps = grid.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (B, rows * P, columns * Q)
        pixels: Tensor = self.mean + self.unit * maps[:, :height, :width]
        return pixels
