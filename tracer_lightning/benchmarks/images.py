"""Images to load: as shards for the application, and as folders for the reference implementations."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2

from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.storage.shard_layout import ShardLayout
from tracer_lightning.types import InputSpec

CROP = (0.9, 1.0)
FLIP = 0.5
IMAGE_SIZE = (500, 375)
"""Width and height of ImageNet's average image."""
Encoded = tuple[bytes, int]
"""A JPEG and its class."""


def jpegs(count: int, classes: int) -> list[Encoded]:
    """Make JPEGs of quality 90 and alternating classes from random crops of scikit-learn's two photos."""
    rng, photos = np.random.default_rng(0), [Image.fromarray(photo) for photo in load_sample_images().images]
    encoded = []
    for number in range(count):
        photo = photos[number % 2]
        width = int(rng.integers(IMAGE_SIZE[0] // 2, photo.width))
        height = min(photo.height, width * IMAGE_SIZE[1] // IMAGE_SIZE[0])
        left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
        crop = photo.resize(IMAGE_SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        buffer = io.BytesIO()
        crop.save(buffer, "JPEG", quality=90)
        encoded.append((buffer.getvalue(), number % classes))
    return encoded


def write_split(shards: Path, split: str, encoded: Sequence[Encoded], classes: Sequence[str]) -> None:
    """Write images as shards."""
    items = [
        SourceSample(functools.partial(bytes, data), f"{i}", "jpg", label) for i, (data, label) in enumerate(encoded)
    ]
    write_shards(SampleCollection(items, classes), shards, split, ["a photo of a {c}."], ShardLayout(max_samples=256))


def write_folder(folder: Path, encoded: Sequence[Encoded]) -> None:
    """Write images to a folder for each class, named in the order of the classes."""
    for number, (data, label) in enumerate(encoded):
        path = folder / f"{label:04}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def plain_crop(size: int, train: bool) -> list[Callable[..., Any]]:
    """Reference: torchvision's usual crops of PIL images."""
    bicubic = v2.InterpolationMode.BICUBIC
    if train:
        return [v2.RandomResizedCrop(size, CROP, interpolation=bicubic), v2.RandomHorizontalFlip(FLIP), v2.ToImage()]
    return [v2.Resize(size, interpolation=bicubic), v2.CenterCrop(size), v2.ToImage()]


def plain_transform(spec: InputSpec, train: bool) -> Any:
    """Reference: transform PIL images to normalised floats, one by one."""
    finish = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    return v2.Compose([*plain_crop(spec.image_size, train), *finish])
