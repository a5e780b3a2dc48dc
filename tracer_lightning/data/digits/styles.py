"""Scikit-learn's 1,797 handwritten digits, rendered at 32 px in many styles.

Every style draws the same real 8x8 images; styles differ in ink, paper, geometry, stroke
width, blur and noise.  Splits are by image, so that no image is part of two splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

SIZE = 32
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEMPLATES = (
    "a photo of the digit {c}.",
    "a handwritten {c}.",
    "the number {c}.",
    "a drawing of a {c}.",
)
# One well separated ink colour per class, bright enough for a black page.
PALETTE = np.array(
    [
        (230, 25, 75), (60, 180, 75), (255, 225, 25), (40, 90, 255), (245, 130, 48),
        (160, 50, 200), (70, 240, 240), (240, 50, 230), (170, 110, 40), (250, 190, 212),
    ],
    dtype=np.float32,
) / 255  # fmt: skip

Ink = Literal["white", "black", "palette", "class"]
Paper = Literal["black", "white", "random"]


@dataclass(frozen=True)
class Style:
    """Style of rendering; the defaults draw a digit in white on black, upright and centred."""

    ink: Ink = "white"  # "class": the class's palette colour; "palette": a random palette colour
    paper: Paper = "black"
    tied: float = 1.0  # for "class" ink: fraction of images with their own class's colour
    turn: tuple[float, float] = (0.0, 0.0)  # smallest and largest rotation in degrees, either way
    zoom: tuple[float, float] = (0.85, 0.85)  # digit height as a fraction of the image's
    shift: float = 0.0  # largest displacement in pixels along each axis
    stroke: int = 0  # pixels of dilation (> 0) or erosion (< 0), at 32 px
    blur: float = 0.0  # Gaussian blur in pixels
    noise: float = 0.0  # standard deviation of additive pixel noise


STYLES: dict[str, Style] = {
    "spurious": Style(ink="class", tied=0.95),  # in distribution: colour gives the class away
    "plain": Style(),
    "inverted": Style(ink="black", paper="white"),
    "coloured": Style(ink="palette"),  # the same inks, independent of the class
    "paper": Style(paper="random"),
    "rotated": Style(turn=(15, 40)),
    "small": Style(zoom=(0.55, 0.7), shift=4),
    "thin": Style(stroke=-1),
    "blurred": Style(blur=2.0),
    "noisy": Style(noise=0.35),
}


class Split(NamedTuple):
    """Images as ink coverage in [0, 1], (N, 8, 8), and their classes, (N,)."""

    images: np.ndarray
    labels: np.ndarray


def load_splits(val: float = 0.1, test: float = 0.3, seed: int = 0) -> dict[str, Split]:
    """Split the digits by image, stratified by class, into train, val and test."""
    from sklearn.datasets import load_digits  # imported late: every command imports this module, and few need it
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    train_ids, held_out = train_test_split(
        np.arange(len(labels)), test_size=val + test, stratify=labels, random_state=seed
    )
    val_ids, test_ids = train_test_split(
        held_out, test_size=test / (val + test), stratify=labels[held_out], random_state=seed
    )
    ids = {"train": train_ids, "val": val_ids, "test": test_ids}
    return {name: Split(images[i], labels[i]) for name, i in ids.items()}


def render(images: np.ndarray, labels: np.ndarray, style: str, seed: int) -> np.ndarray:
    """Render (N, 8, 8) digits in a named style as (N, 3, 32, 32) uint8; equal seeds give equal pixels."""
    spec = STYLES[style]
    rng = np.random.default_rng([seed, *style.encode()])
    mask = place(images, spec, rng)[:, None]
    ink, paper = _ink(labels, spec, rng), _paper(len(labels), spec, rng)
    image = mask * ink + (1 - mask) * paper
    if spec.blur:
        image = gaussian_filter(image, (0, 0, spec.blur, spec.blur))
    if spec.noise:
        image = image + rng.normal(0, spec.noise, image.shape)
    pixels: np.ndarray = (image.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def place(images: np.ndarray, spec: Style, rng: np.random.Generator) -> np.ndarray:
    """Scale, rotate, shift and dilate or erode the digits; return ink coverage (N, 32, 32)."""
    n = len(images)
    angle = np.deg2rad(rng.uniform(*spec.turn, n) * rng.choice([-1, 1], n))
    zoom = rng.uniform(*spec.zoom, n)
    shift = rng.uniform(-spec.shift, spec.shift, (n, 2)) * 2 / SIZE
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    turn = 0.8 * turn.transpose(2, 0, 1)  # output to padded input coordinates, (N, 2, 2)
    theta = np.concatenate([turn, -turn @ shift[:, :, None]], axis=2)
    grid = F.affine_grid(torch.from_numpy(theta).float(), [n, 1, SIZE, SIZE], align_corners=False)
    glyphs = F.pad(torch.from_numpy(images)[:, None], (1, 1, 1, 1))  # 10x10: strokes end softly
    glyphs = F.interpolate(glyphs, size=40, mode="bicubic", align_corners=False).clamp(0, 1)
    mask = F.grid_sample(glyphs, grid, align_corners=False)
    if spec.stroke:
        sign, reach = np.sign(spec.stroke), abs(spec.stroke)
        mask = sign * F.max_pool2d(sign * mask, 2 * reach + 1, stride=1, padding=reach)
    return mask[:, 0].numpy()


def _ink(labels: np.ndarray, spec: Style, rng: np.random.Generator) -> np.ndarray:
    """Draw ink colours, broadcastable to (N, 3, 32, 32)."""
    n = len(labels)
    if spec.ink in ("white", "black"):
        return np.full((n, 3, 1, 1), float(spec.ink == "white"), np.float32)
    if spec.ink == "palette":
        colour = rng.integers(len(PALETTE), size=n)
    else:
        wrong_class = (labels + rng.integers(1, len(PALETTE), size=n)) % len(PALETTE)
        colour = np.where(rng.random(n) < spec.tied, labels, wrong_class)
    return PALETTE[colour][:, :, None, None]


def _paper(n: int, spec: Style, rng: np.random.Generator) -> np.ndarray:
    """Draw paper colours, broadcastable to (N, 3, 32, 32); random ones stay darker than the ink."""
    if spec.paper == "random":
        return 0.6 * rng.random((n, 3, 1, 1), dtype=np.float32)
    return np.full((n, 3, 1, 1), float(spec.paper == "white"), np.float32)
