"""The largest number of pixels of an image, in the words of each image processor of ``transformers``."""

from __future__ import annotations

import math
from typing import Any

import torch

GRID = "image_grid_pinpoints"
"""Setting of processors and models for the sizes of images that are cut into tiles (LLaVA-NeXT, LLaVA-OneVision)."""
TILES = "max_patches"
"""Setting of processors for the number of tiles of an image (InternVL, Llama 4 and others)."""
PROBES = ((32, 32), (640, 1920))
"""Heights and widths of two images, to which only processors of one size give the same number of values."""


def limit_pixels(processor: Any, config: Any, max_pixels: int) -> None:
    """Let an image processor reduce images to a number of pixels, in place.

    Images are never larger than by the processor's own setting. Overviews of images in tiles are not counted.

    Args:
        processor: image processor of ``transformers``.
        config: configuration of the model, which has the sizes of images in tiles, too.
        max_pixels: maximum number of pixels of an image.

    Raises:
        ValueError: the processor has a fixed size that is larger, or no setting that is known.
    """
    if max_pixels < 1:
        raise ValueError(f"max_pixels must be >= 1 or None, got {max_pixels}")
    size = dict(processor.size or {})
    if grid := getattr(processor, GRID, None):
        _check(min(math.prod(shape) for shape in grid), max_pixels)
        smaller = [list(shape) for shape in grid if math.prod(shape) <= max_pixels]
        setattr(processor, GRID, smaller)
        setattr(config, GRID, smaller)
    elif "longest_edge" in size:
        longest = max_pixels if hasattr(processor, "merge_size") else _longest_edge(processor, max_pixels)
        processor.size = type(processor.size)(**{edge: min(value, longest) for edge, value in size.items()})
    elif getattr(processor, TILES, None) and {"height", "width"} <= {*size}:
        tile = size["height"] * size["width"]
        _check(tile, max_pixels)
        setattr(processor, TILES, min(getattr(processor, TILES), max_pixels // tile))
    elif (fixed := _fixed_pixels(processor)) is not None:
        _check(fixed, max_pixels)
    else:
        raise ValueError(
            f"max_pixels={max_pixels}: how {type(processor).__name__} limits images is not known; set max_pixels to "
            "null, and reduce large images beforehand"
        )


def _longest_edge(processor: Any, max_pixels: int) -> int:
    """Largest edge of a square of at most that many pixels; of whole tiles where images are cut into them (SmolVLM).

    Where there are no tiles, edges are in pixels; processors with ``merge_size``, such as Qwen's, have numbers of
    pixels under the same name instead.
    """
    edge = math.isqrt(max_pixels)
    tile: int = dict(getattr(processor, "max_image_size", None) or {}).get("longest_edge", 1)
    _check(tile**2, max_pixels)
    return edge // tile * tile


def _fixed_pixels(processor: Any) -> int | None:
    """Number of pixels of every image; None if it varies or is not known."""
    images = [torch.zeros(3, height, width, dtype=torch.uint8) for height, width in PROBES]
    values = [processor(image, return_tensors="pt").get("pixel_values") for image in images]
    shapes = {None if value is None else tuple(value.shape) for value in values}
    shape = shapes.pop() if len(shapes) == 1 else None
    return None if shape is None else math.prod(shape) // 3


def _check(pixels: int, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise ValueError(
            f"max_pixels={max_pixels}: the model resizes every image to {pixels} pixels or more; set max_pixels to at "
            f"least {pixels}, or to null"
        )
