"""Samples keyed by (epoch, index), and their collation into batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tracer_lightning.data.captions import CaptionTable, sample_rng
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.types import Batch

PADDING = -1
"""Index and label of samples that only fill a batch up."""


Transform = Callable[[Tensor, np.random.Generator], Tensor]
"""Picture (3, H, W) uint8 and random numbers to a picture of the model's size."""


class ImageSource(Protocol):
    """Labelled pictures by position."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The picture, (3, H, W) uint8, and its class."""


class Sample(NamedTuple):
    """One captioned picture."""

    image: Tensor
    text: Tensor
    label: int
    position: int


class CaptionedDataset(Dataset[Sample]):
    """Pictures with a random caption of their class, or with an empty text.

    Args:
        source: the pictures.
        captions: None for evaluation, which needs no texts.
        transform: picture of any size to that of the model, with the sample's random numbers.
        seed: with epoch and index, it fixes all randomness of a sample.
    """

    def __init__(
        self, source: ImageSource, captions: CaptionTable | None, transform: Transform | None, seed: int
    ) -> None:
        self.source = source
        self.captions = captions
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of ``key`` = (epoch, index); index -1 gives padding."""
        epoch, index = key
        image, label = self.source[max(index, 0)]
        rng = sample_rng(self.seed, epoch, max(index, 0))
        text = torch.zeros(0, dtype=torch.long) if self.captions is None else self.captions.draw(label, rng)
        if self.transform is not None:
            image = self.transform(image, rng)
        return Sample(image, text, PADDING if index == PADDING else label, index)


class Collate:
    """Samples to a batch, its texts cut to the longest of them.

    Args:
        trims_text: whether the model allows it.
    """

    def __init__(self, trims_text: bool) -> None:
        self.trims_text = trims_text

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Images (B, 3, H, W) uint8, texts (B, L), labels (B,), indices (B,)."""
        texts = torch.stack([sample.text for sample in samples])
        return Batch(
            images=torch.stack([sample.image for sample in samples]),
            texts=trim_tokens(texts) if self.trims_text else texts,
            labels=torch.tensor([sample.label for sample in samples]),
            indices=torch.tensor([sample.position for sample in samples]),
        )
