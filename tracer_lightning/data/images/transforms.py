"""Transforms of encoded images to crops, with random numbers from each sample's generator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from tracer_lightning.data.images.decoding import UnreadableImageError, decode, pil_image, rgb
from tracer_lightning.types import InputSpec

EvalDecoder = Literal["torchvision", "pil"]
ASPECT = (3 / 4, 4 / 3)
"""Smallest and largest ratio of width to height of a random crop."""
LOG_ASPECT = (math.log(ASPECT[0]), math.log(ASPECT[1]))
ATTEMPTS = 10
"""Number of random boxes to try before the fallback."""


class DecodeAndCrop:
    """Transform that decodes an image, unless it is decoded already, and crops it."""

    def __init__(self, crop: RandomCrop) -> None:
        self.crop = crop

    def __call__(self, data: bytes | Tensor, rng: np.random.Generator) -> Tensor:
        """Crop an encoded image, or a decoded one (3, H, W) uint8, to (3, size, size) uint8."""
        return self.crop(_decoded(data), rng)

    def plan(self, data: bytes | Tensor, rng: np.random.Generator) -> PlannedCrop:
        """Decode an image, and draw the crop that :meth:`RandomCrop.crop_batch` makes of it."""
        return self.crop.plan(_decoded(data), rng)


def _decoded(data: bytes | Tensor) -> Tensor:
    return data if isinstance(data, Tensor) else decode(data)


class PlannedCrop(NamedTuple):
    """Image and the random numbers of its crop."""

    image: Tensor
    """(3, H, W) uint8."""
    box: tuple[int, int, int, int]
    """Top, left, height and width in pixels."""
    flip: bool
    """Whether the crop is flipped horizontally."""


class RandomCrop:
    """Random resized crop (Szegedy et al., 2015; aspect 3/4 to 4/3) and horizontal flip.

    Args:
        size: height and width of the crop in pixels.
        crop_scale: smallest and largest fraction of the image's area.
        flip: probability of a horizontal flip.
        interpolation: ``bicubic`` or ``bilinear``.
    """

    def __init__(self, size: int, crop_scale: Sequence[float], flip: float, interpolation: str = "bicubic") -> None:
        numbers = [value for value in crop_scale if isinstance(value, int | float)]
        if len(crop_scale) != 2 or len(numbers) != 2 or not 0.0 < numbers[0] <= numbers[1] <= 1.0:
            raise ValueError(f"crop_scale must be two numbers with 0 < low <= high <= 1, got {list(crop_scale)}")
        if not isinstance(flip, int | float) or not 0.0 <= flip <= 1.0:
            raise ValueError(f"flip must be a probability, got {flip!r}")
        self.size, self.scale, self.flip = size, (numbers[0], numbers[1]), flip
        self.interpolation = InterpolationMode(interpolation)

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Crop (3, H, W) uint8 to (3, size, size) uint8."""
        _, box, flip = self.plan(image, rng)
        image = TF.resized_crop(image, *box, [self.size, self.size], self.interpolation, antialias=True)
        return TF.horizontal_flip(image) if flip else image

    def plan(self, image: Tensor, rng: np.random.Generator) -> PlannedCrop:
        """Draw the crop of an image (3, H, W)."""
        _, height, width = image.shape
        return PlannedCrop(image, self.box(height, width, rng), rng.random() < self.flip)

    def crop_batch(self, plans: Sequence[PlannedCrop]) -> Tensor:
        """Crop images to (B, 3, size, size) uint8.

        Boxes of equal size are resized together, to the same pixels: for small images, the overhead of a call takes
        longer than its computation.
        """
        crops = torch.empty(len(plans), 3, self.size, self.size, dtype=torch.uint8)
        groups: dict[tuple[int, int], list[int]] = {}
        for number, plan in enumerate(plans):
            groups.setdefault(plan.box[2:], []).append(number)
        for (height, width), numbers in groups.items():
            boxes = []
            for image, (top, left, _, _), _ in (plans[number] for number in numbers):
                boxes.append(image[:, top : top + height, left : left + width])
            group = boxes[0][None] if len(boxes) == 1 else torch.stack(boxes)
            crops[numbers] = TF.resize(group, [self.size, self.size], self.interpolation, antialias=True)
        flipped = [number for number, plan in enumerate(plans) if plan.flip]
        crops[flipped] = crops[flipped].flip(-1)
        return crops

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw top, left, height and width of a crop in pixels, as torchvision's ``RandomResizedCrop`` does."""
        for _ in range(ATTEMPTS):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(*LOG_ASPECT))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
        w = min(width, round(height * ASPECT[1]))  # fallback: the largest box with an aspect within the bounds
        h = min(height, round(width / ASPECT[0]))
        return (height - h) // 2, (width - w) // 2, h, w


class EvalCrop:
    """Transform of encoded images by the model's own preprocessing for evaluation.

    Args:
        spec: size, interpolation and resize mode of the model.
        decoder: ``torchvision`` is nearly twice as fast; ``pil`` yields exactly the pixels of open_clip's
            preprocessing, for comparison with published numbers.
        border: number of pixels to cut off each side first (2 for ObjectNet's red frame).
    """

    def __init__(self, spec: InputSpec, decoder: EvalDecoder, border: int = 0) -> None:
        if decoder not in get_args(EvalDecoder):
            raise ValueError(f"eval_decoder must be one of {', '.join(get_args(EvalDecoder))}, got {decoder!r}")
        if spec.resize_mode not in ("shortest", "squash"):
            raise ValueError(f"spec.resize_mode must be shortest or squash, got {spec.resize_mode!r}")
        squash = spec.resize_mode == "squash"
        self.size = [spec.image_size, spec.image_size]
        self.resize_to = self.size if squash else [spec.image_size]
        self.interpolation, self.decoder, self.border = InterpolationMode(spec.interpolation), decoder, border

    def __call__(self, data: bytes, rng: np.random.Generator) -> Tensor:
        """Decode, resize and crop an image to (3, size, size) uint8."""
        if self.decoder == "pil":
            image = rgb(self._crop(pil_image(data)))
            return torch.from_numpy(np.array(image)).permute(2, 0, 1)
        cropped: Tensor = self._crop(decode(data))
        return cropped

    def _crop(self, image: Any) -> Any:
        if self.border:
            height, width = TF.get_size(image)
            inner = (height - 2 * self.border, width - 2 * self.border)
            if min(inner) < 1:
                raise UnreadableImageError(f"of {width} x {height} pixels, with nothing inside its border")
            image = TF.crop(image, self.border, self.border, *inner)
        image = TF.resize(image, self.resize_to, self.interpolation, antialias=True)
        return TF.center_crop(image, self.size)
