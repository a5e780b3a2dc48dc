"""Scikit-learn's digits in named inks and several styles."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from tracer_lightning.data.digits.datamodule import EVALUATION_SEED, cached_splits
from tracer_lightning.data.digits.styles import Style, place

INKS: Mapping[str, tuple[int, int, int]] = {
    "red": (230, 25, 45),
    "green": (50, 190, 60),
    "blue": (40, 80, 255),
    "yellow": (255, 220, 20),
    "purple": (160, 40, 210),
    "orange": (250, 130, 30),
}
"""RGB values of the inks, which are independent of digits and styles."""
COLOURS = tuple(INKS)
BROAD: Mapping[str, Style] = {
    "coloured": Style(),
    "thin": Style(stroke=-1),
    "blurred": Style(blur=1.2),
    "noisy": Style(noise=0.2),
    "small": Style(zoom=(0.6, 0.75), shift=2),
    "light": Style(paper="white"),
}
"""Styles that models are pretrained on."""
STYLES: Mapping[str, Style] = {
    **BROAD,
    "tilted": Style(turn=(20, 40), paper="random", zoom=(0.6, 0.75), noise=0.1),
    "tiny": Style(zoom=(0.5, 0.6), shift=4),
    "hazy": Style(blur=1.6, noise=0.1),
    "turned": Style(turn=(15, 25)),
}
DARKEST = 0.35
"""Greatest brightness of randomly coloured paper."""


class Drawings(NamedTuple):
    """Drawings of digits."""

    pixels: np.ndarray
    """(N, 3, 32, 32) uint8."""
    digits: np.ndarray
    """(N,) the digits."""
    inks: np.ndarray
    """(N,) indices of the inks in ``COLOURS``."""

    def subset(self, indices: np.ndarray) -> Drawings:
        """Select the drawings at these positions."""
        return Drawings(*(values[indices] for values in self))


@cache
def draw(split: str, style: str, seed: int) -> Drawings:
    """Draw all digits of a split in one style; equal seeds give equal drawings, once per process.

    Args:
        split: ``train``, ``val`` or ``test``.
        style: name of a style.
        seed: seed of inks and of what is random in the style.
    """
    images, digits = cached_splits()[split]
    spec, rng = STYLES[style], np.random.default_rng([seed, *style.encode()])
    mask = place(images, spec, rng)[:, None]  # (N, 1, 32, 32)
    inks = rng.integers(len(COLOURS), size=len(digits))
    ink = np.array([INKS[colour] for colour in COLOURS], np.float32)[inks][:, :, None, None] / 255
    if spec.paper == "random":
        paper = DARKEST * rng.random((len(digits), 3, 1, 1), dtype=np.float32)
    else:
        paper = np.full((1, 1, 1, 1), float(spec.paper == "white"), np.float32)
    image = mask * ink + (1 - mask) * paper
    if spec.blur:
        image = gaussian_filter(image, (0, 0, spec.blur, spec.blur))
    if spec.noise:
        image = image + rng.normal(0, spec.noise, image.shape)
    return Drawings((image.clip(0, 1) * 255).round().astype(np.uint8), digits.astype(int), inks)


def draw_styles(split: str, renderings: Mapping[str, int], first_seed: int = EVALUATION_SEED) -> Drawings:
    """Draw all digits of a split in several styles.

    Args:
        split: ``train``, ``val`` or ``test``.
        renderings: number of drawings of each digit by style.
        first_seed: seed of the first rendering; the others have the following ones.
    """
    drawings = [draw(split, style, first_seed + k) for style, number in renderings.items() for k in range(number)]
    return Drawings(*(np.concatenate(values) for values in zip(*drawings, strict=True)))
