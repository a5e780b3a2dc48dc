"""The built-in dataset: scikit-learn's handwritten digits, rendered in many styles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tracer_lightning.data.digits.styles import CLASSES, SIZE, STYLES, TEMPLATES, Split, load_splits, render
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.types import EvalSet, InputSpec

EVALUATION_SEED = 0
"""Rendering seed of val and test; training uses 1, 2, ..."""
MAX_RENDERINGS = 1_000
"""Maximum number of renderings of the training images, which take 3 GB of memory per style."""


@cache
def cached_splits() -> dict[str, Split]:
    """Load the digits once per process."""
    return load_splits()


@cache
def render_split(split: str, style: str, seed: int) -> np.ndarray:
    """Render a split in one style as (N, 3, 32, 32) uint8, once per process; all styles take about 50 MB."""
    return render(*cached_splits()[split], style, seed)


class TensorSource:
    """Source of images in memory.

    Args:
        images: (N, 3, H, W) uint8 images.
        labels: (N,) classes.
    """

    def __init__(self, images: Tensor, labels: Sequence[int]) -> None:
        self.images, self.labels = images, [int(label) for label in labels]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, index: int) -> RawSample:
        """Return the image (3, H, W) and its class."""
        return RawSample(self.images[index], self.labels[index], origin=str(index))


class DigitsDataModule(ClipDataModule):
    """Training data in some styles of the digits, and a test set in each style.

    Splits are by digit: no digit of the test split is rendered in any style for training. Test sets of the training
    styles are ID, all others OOD.

    Args:
        spec: input specification of the model; images are 32 x 32.
        train_styles: names from :data:`tracer_lightning.data.digits.styles.STYLES`.
        renderings_per_digit: number of renderings of each training digit in each style, which differ where the style
            is random.
        loading: arguments of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed``
            (which does not affect the renderings), ``max_bad_fraction`` and ``shots``.
    """

    classnames = CLASSES
    templates = TEMPLATES

    def __init__(
        self,
        spec: InputSpec,
        train_styles: Sequence[str],
        renderings_per_digit: int,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        if isinstance(train_styles, str):
            raise ValueError(f"train_styles must be a list, got {train_styles!r}; write [{train_styles}]")
        unknown = sorted(set(train_styles) - set(STYLES))
        if unknown or not train_styles:
            raise ValueError(f"train_styles must name some of {', '.join(STYLES)}; got {', '.join(unknown) or 'none'}")
        if not 1 <= renderings_per_digit <= MAX_RENDERINGS:
            raise ValueError(f"renderings_per_digit must be >= 1 and <= {MAX_RENDERINGS}, got {renderings_per_digit}")
        if spec.image_size != SIZE:
            raise ValueError(
                f"spec.image_size must be {SIZE} for these digits, got {spec.image_size}; choose another backbone"
            )
        self.train_styles, self.renderings_per_digit = tuple(train_styles), renderings_per_digit
        self.eval_sets = tuple(
            EvalSet(style, "test", "id" if style in train_styles else "ood")
            for style in sorted(STYLES, key=lambda style: style not in train_styles)
        )
        self.val_set = EvalSet(self.train_styles[0] if len(self.train_styles) == 1 else "mixed", "val", "id")

    def train_source(self) -> TensorSource:
        """Training digits in every training style."""
        return self._draw(
            "train", self.train_styles, range(EVALUATION_SEED + 1, EVALUATION_SEED + 1 + self.renderings_per_digit)
        )

    def eval_source(self, eval_set: EvalSet) -> TensorSource:
        """Digits of a split in one style, or in all training styles for the mixed validation set."""
        styles = [eval_set.name] if eval_set.name in STYLES else self.train_styles
        return self._draw(eval_set.split, styles, [EVALUATION_SEED])

    def _draw(self, split: str, styles: Sequence[str], seeds: Sequence[int]) -> TensorSource:
        renderings = [render_split(split, style, seed) for style in styles for seed in seeds]
        labels = np.tile(cached_splits()[split].labels, len(renderings))
        return TensorSource(torch.from_numpy(np.concatenate(renderings)), labels.tolist())
