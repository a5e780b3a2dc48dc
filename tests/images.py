"""Small images as pixels, as encoded bytes and as files."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image


def grey_pixels(level: int, height: int = 40, width: int = 48) -> np.ndarray:
    """RGB pixels (height, width, 3) of a single grey level."""
    return np.full((height, width, 3), level, np.uint8)


def random_pixels(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """Random RGB pixels (height, width, 3)."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def encode(image: np.ndarray | Image.Image, form: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    """Encode an image, converted to a mode if one is given, in one of PIL's formats."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, form, **options)
    return buffer.getvalue()


@functools.cache
def grey_png(level: int) -> bytes:
    """A PNG of 48 x 40 pixels of a single grey level."""
    return encode(grey_pixels(level))


def write_image(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    """Write an image and the folders above it; the suffix determines the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path
