"""Crops on uint8 tensors, with randomness from the sample's own generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from tracer_lightning.data.decoding import decode

ASPECT = (3 / 4, 4 / 3)
ATTEMPTS = 10


class Decoded:
    """A crop of encoded pictures."""

    def __init__(self, crop: Callable[[Tensor, np.random.Generator], Tensor]) -> None:
        self.crop = crop

    def __call__(self, data: bytes, rng: np.random.Generator) -> Tensor:
        """An encoded picture to (3, size, size) uint8."""
        return self.crop(decode(data), rng)


class RandomCrop:
    """Random resized crop (Szegedy et al., 2015; bicubic, aspect 3/4 to 4/3) and horizontal flip.

    Args:
        size: pixels of height and width.
        scale: smallest and largest share of the picture's area.
        flip: probability of a horizontal flip.
    """

    def __init__(self, size: int, scale: Sequence[float], flip: float) -> None:
        low, high = scale
        if not 0.0 < low <= high <= 1.0:
            raise ValueError(f"crop_scale must be two numbers with 0 < low <= high <= 1, found {list(scale)}")
        if not 0.0 <= flip <= 1.0:
            raise ValueError(f"flip must be a probability, found {flip}")
        self.size, self.scale, self.flip = size, (low, high), flip

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """(3, H, W) uint8 to (3, size, size) uint8."""
        top, left, height, width = self._box(image.shape[-2], image.shape[-1], rng)
        image = TF.resized_crop(
            image, top, left, height, width, [self.size, self.size], InterpolationMode.BICUBIC, antialias=True
        )
        return TF.horizontal_flip(image) if rng.random() < self.flip else image

    def _box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        for _ in range(ATTEMPTS):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        side = min(height, width)  # no such box: the largest square in the middle
        return (height - side) // 2, (width - side) // 2, side, side


class CentreCrop:
    """Resize the shorter side (bicubic), then take the middle: the evaluation of CLIP.

    Args:
        size: pixels of height and width.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """(3, H, W) uint8 to (3, size, size) uint8."""
        image = TF.resize(image, [self.size], InterpolationMode.BICUBIC, antialias=True)
        cropped: Tensor = TF.center_crop(image, [self.size, self.size])
        return cropped
