"""Samples keyed by (epoch, index), and their collation into batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tracer_lightning.data.captions import CaptionTable, sample_rng
from tracer_lightning.data.decoding import UnreadablePictureError
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.types import Batch

PADDING = -1
"""Index and label of samples that only fill a batch up."""


Transform = Callable[[Any, np.random.Generator], Tensor]
"""What a source holds of a picture, and random numbers, to a picture (3, H, W) uint8 of the model's size."""
REPLACEMENTS = 16
"""Unreadable pictures in a row after which training gives up."""


class Picture(NamedTuple):
    """What a source holds of one sample."""

    data: Any
    """An encoded picture (bytes), or one of the model's size (3, H, W) uint8."""
    label: int
    """Its class; -1 where there is none."""
    origin: str
    """Where it is, for messages."""
    caption: str | None = None
    """A caption of its own."""


class ImageSource(Protocol):
    """Labelled pictures by position."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int) -> Picture:
        """One sample."""


class Sample(NamedTuple):
    """One captioned picture."""

    image: Tensor
    text: Tensor
    label: int
    position: int
    unreadable: tuple[str, ...] = ()


class CaptionedDataset(Dataset[Sample]):
    """Pictures with their own caption or a random one of their class, or with an empty text.

    An unreadable picture does not end a run: training takes the next readable one, always the same, and evaluation
    leaves it out. Batches count them.

    Args:
        source: the pictures.
        captions: None for evaluation, which needs no texts.
        transform: decodes and crops; None where the source holds finished pictures.
        image_size: pixels of height and width of finished pictures.
        seed: with epoch and index, it fixes all randomness of a sample.
    """

    def __init__(
        self,
        source: ImageSource,
        captions: CaptionTable | None,
        transform: Transform | None,
        image_size: int,
        seed: int,
    ) -> None:
        self.source = source
        self.captions = captions
        self.transform = transform
        self.image_size = image_size
        self.seed = seed

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of ``key`` = (epoch, index); index -1 gives padding."""
        epoch, index = key
        if self.captions is None:
            return self._evaluated(index)
        unreadable: tuple[str, ...] = ()
        for attempt in range(REPLACEMENTS):
            position = (index + attempt) % len(self)
            rng = sample_rng(self.seed, epoch, index)
            picture = self.source[position]
            try:
                image = self._finished(picture, rng)
            except UnreadablePictureError:
                unreadable += (picture.origin,)
                continue
            own = picture.caption
            text = self.captions.draw(picture.label, rng) if own is None else self.captions.encode(own)
            return Sample(image, text, picture.label, position, unreadable)
        raise ValueError(f"data: {REPLACEMENTS} pictures in a row can't be read, the first {unreadable[0]}")

    def _evaluated(self, index: int) -> Sample:
        none = torch.zeros(0, dtype=torch.long)
        unreadable: tuple[str, ...] = ()
        if index != PADDING:
            picture = self.source[index]
            try:
                return Sample(self._finished(picture, sample_rng(self.seed, 0, index)), none, picture.label, index)
            except UnreadablePictureError:
                unreadable = (picture.origin,)
        blank = torch.zeros(3, self.image_size, self.image_size, dtype=torch.uint8)
        return Sample(blank, none, PADDING, PADDING, unreadable)

    def _finished(self, picture: Picture, rng: np.random.Generator) -> Tensor:
        image: Tensor = picture.data if self.transform is None else self.transform(picture.data, rng)
        return image


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
            unreadable=tuple(origin for sample in samples for origin in sample.unreadable),
        )
