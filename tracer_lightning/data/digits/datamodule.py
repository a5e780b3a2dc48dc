"""The embedded data set: scikit-learn's real digits, drawn in many styles."""

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

EVALUATION_RENDER = 0
"""Seed of the drawings of val and test; training uses 1, 2, ..."""
MOST_RENDERS = 1_000
"""Of all images in one style: 3 GB."""


@cache
def drawn_splits() -> dict[str, Split]:
    """The digits, loaded once a process."""
    return load_splits()


@cache
def drawn(split: str, style: str, seed: int) -> np.ndarray:
    """The images (N, 3, 32, 32) uint8 of a split in one style, drawn once a process: about 50 MB for all."""
    return render(*drawn_splits()[split], style, seed)


class TensorSource:
    """Images held in memory.

    Args:
        images: (N, 3, H, W) uint8.
        labels: (N,) classes.
    """

    def __init__(self, images: Tensor, labels: Sequence[int]) -> None:
        self.images, self.labels = images, [int(label) for label in labels]

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    def __getitem__(self, index: int) -> RawSample:
        """The image (3, H, W) and its class."""
        return RawSample(self.images[index], self.labels[index], origin=str(index))


class DigitsDataModule(ClipDataModule):
    """Train on some styles of the digits, test on all of them.

    Splits are by image: no image of the test split was drawn in any style for training. Styles trained on are ID, all
    others OOD.

    Args:
        spec: what the model expects; images are 32 x 32.
        train_styles: names from ``digit_styles.STYLES``.
        renders: different drawings of each training image per style (where the style has any randomness).
        loading: of :class:`ClipDataModule`: ``batch_size``, ``eval_batch_size``, ``num_workers``, ``seed`` (not of the
            drawings), ``max_bad_fraction`` and ``shots``.
    """

    classnames = CLASSES
    templates = TEMPLATES

    def __init__(
        self,
        spec: InputSpec,
        train_styles: Sequence[str],
        renders: int,
        **loading: Any,
    ) -> None:
        super().__init__(spec, **loading)
        if isinstance(train_styles, str):
            raise ValueError(f"train_styles must be a list, found {train_styles!r}; write [{train_styles}]")
        unknown = sorted(set(train_styles) - set(STYLES))
        if unknown or not train_styles:
            raise ValueError(
                f"train_styles must name some of {', '.join(STYLES)}; found {', '.join(unknown) or 'none'}"
            )
        if not 1 <= renders <= MOST_RENDERS:
            raise ValueError(f"renders must be a whole number >= 1 and <= {MOST_RENDERS}, found {renders}")
        if spec.image_size != SIZE:
            raise ValueError(f"the digits are {SIZE} pixels wide and the backbone takes {spec.image_size}")
        self.train_styles, self.renders = tuple(train_styles), renders
        self.eval_sets = tuple(
            EvalSet(style, "test", "id" if style in train_styles else "ood")
            for style in sorted(STYLES, key=lambda style: style not in train_styles)
        )
        self.val_set = EvalSet(self.train_styles[0] if len(self.train_styles) == 1 else "mixed", "val", "id")

    def train_source(self) -> TensorSource:
        """The training images in every training style."""
        return self._draw(
            "train", self.train_styles, range(EVALUATION_RENDER + 1, EVALUATION_RENDER + 1 + self.renders)
        )

    def eval_source(self, eval_set: EvalSet) -> TensorSource:
        """The images of a split in one style, or in all training styles for the mixed validation set."""
        styles = [eval_set.name] if eval_set.name in STYLES else self.train_styles
        return self._draw(eval_set.split, styles, [EVALUATION_RENDER])

    def _draw(self, split: str, styles: Sequence[str], seeds: Sequence[int]) -> TensorSource:
        drawings = [drawn(split, style, seed) for style in styles for seed in seeds]
        labels = np.tile(drawn_splits()[split].labels, len(drawings))
        return TensorSource(torch.from_numpy(np.concatenate(drawings)), labels.tolist())
