"""Normalisation of uint8 images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Normalization:
    """Normalisation of uint8 images (B, 3, H, W) on their device, with statistics cached per device.

    Args:
        mean: (3,) channel means of pixels in [0, 1].
        std: (3,) channel standard deviations.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.mean, self.std = mean, std
        self._statistics: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return (images / 255 - mean) / std."""
        if images.device not in self._statistics:
            mean, std = (
                torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (self.mean, self.std)
            )
            self._statistics[images.device] = (255.0 * mean, 255.0 * std)
        mean, std = self._statistics[images.device]
        return images.to(mean.dtype).sub_(mean).div_(std)
