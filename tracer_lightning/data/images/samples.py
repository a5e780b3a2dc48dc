"""Samples keyed by (epoch, index), and their collation into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tracer_lightning.data.images.captions import CaptionTable, SampleRandomness
from tracer_lightning.data.images.decoding import UnreadableImageError
from tracer_lightning.data.images.image_source import ImageSource, RawSample
from tracer_lightning.data.images.transforms import DecodeAndCrop, PlannedCrop
from tracer_lightning.functional.text import trim_tokens, unique_captions
from tracer_lightning.types import IGNORE_INDEX, Batch

PADDING = IGNORE_INDEX
"""Index and label of samples that only fill a batch up."""
Transform = Callable[[Any, np.random.Generator], Tensor]
"""From what a source holds of an image, and random numbers, to an image (3, H, W) uint8 of the model's size."""
REPLACEMENTS = 16
"""Unreadable images in a row after which training gives up."""


class Sample(NamedTuple):
    """One captioned image."""

    image: Tensor
    text: Tensor
    label: int
    position: int
    unreadable: tuple[str, ...] = ()
    target: Tensor | None = None
    """Values to predict; None where samples have classes instead."""


class SampleBuilder:
    """From images to samples: decoded, cropped, with a caption.

    An unreadable image does not end a run: training takes the next readable one, always the same, and evaluation
    leaves it out. Batches count them.

    Args:
        captions: None for evaluation, which needs no texts.
        transform: decodes and crops; None where the source holds finished images.
        blank: finished image that takes the place of padding and of what can't be read.
        seed: with epoch and index, it fixes all randomness of a sample.
    """

    def __init__(self, captions: CaptionTable | None, transform: Transform | None, blank: Tensor, seed: int) -> None:
        self.captions = captions
        self.transform: Callable[[Any, np.random.Generator], Any] | None = transform
        self.blank = blank
        self.seed = seed
        self._randomness = SampleRandomness(seed)
        self._crop_batch: Callable[[Sequence[PlannedCrop]], Tensor] | None = None

    def crop_in_batches(self, transform: DecodeAndCrop) -> None:
        """Only plan the crop of each image, and crop those of a batch together, to the same pixels.

        This is faster for small images, and takes more memory for images that are not kept in memory anyway.
        """
        self.transform, self._crop_batch = transform.plan, transform.crop.crop_batch

    def trained(
        self, candidates: Iterable[tuple[int, RawSample]], epoch: int, row: tuple[int, int] | None = None
    ) -> Sample:
        """The first readable one of (index, image), with the randomness of the first index.

        Args:
            candidates: the sample, and what may take its place.
            epoch: with the index, it fixes all randomness.
            row: number of what is drawn, instead of the index, and of its template, where they are drawn together.
        """
        assert self.captions is not None
        unreadable: tuple[str, ...] = ()
        first, template = (None, None) if row is None else row
        for index, raw in candidates:
            first = index if first is None else first
            rng = self._randomness.of(epoch, first)
            try:
                image = raw.data if self.transform is None else self.transform(raw.data, rng)
            except UnreadableImageError as error:
                unreadable += (f"{raw.origin}: {error}",)
                continue
            return Sample(image, self.captions.of(raw, rng, template), raw.label, index, unreadable)
        raise ValueError(f"{len(unreadable)} images in a row can't be read, the first {unreadable[0]}")

    def evaluated(self, raw: RawSample | None, index: int) -> Sample:
        """The image as it is, without text; padding for None and for what can't be read."""
        none = torch.zeros(0, dtype=torch.long)
        unreadable: tuple[str, ...] = ()
        if raw is not None:
            try:
                image = raw.data
                if self.transform is not None:
                    image = self.transform(image, self._randomness.of(0, index))
                return Sample(image, none, raw.label, index)
            except UnreadableImageError as error:
                unreadable = (f"{raw.origin}: {error}",)
        return Sample(self.blank, none, PADDING, PADDING, unreadable)

    def finish(self, samples: Sequence[Sample]) -> Sequence[Sample]:
        """Crop the images whose crops are only planned."""
        if self._crop_batch is None:
            return samples
        images = self._crop_batch([cast(PlannedCrop, sample.image) for sample in samples])
        return [sample._replace(image=image) for sample, image in zip(samples, images, strict=True)]


class CaptionedDataset(Dataset[Sample]):
    """The samples of a source that gives images by position.

    Args:
        source: the images.
        builder: whether with captions, for training, or without, for evaluation.
    """

    def __init__(self, source: ImageSource, builder: SampleBuilder) -> None:
        self.source = source
        self.builder = builder

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The sample of ``key`` = (epoch, index); index -1 gives padding."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Sequence[Sample]:
        """The samples of several keys, as a ``DataLoader`` asks for those of a batch."""
        return self.builder.finish([self.build(key) for key in keys])

    def build(self, key: tuple[int, int]) -> Sample:
        """The sample of a key, whose crop may be only planned."""
        epoch, index = key
        if self.builder.captions is None:
            return self.builder.evaluated(None if index == PADDING else self.source[index], index)
        return self.builder.trained(self.candidates(index), epoch)

    def candidates(self, index: int) -> Iterator[tuple[int, RawSample]]:
        """(position, image) of an index, and of those after it."""
        for attempt in range(REPLACEMENTS):
            position = (index + attempt) % len(self)
            yield position, self.source[position]


class CaptionedRows(CaptionedDataset):
    """The rows of images x templates, image by image, for training."""

    def build(self, key: tuple[int, int]) -> Sample:
        """The sample of ``key`` = (epoch, row), whose crop may be only planned."""
        assert self.builder.captions is not None
        epoch, row = key
        index, template = divmod(row, self.builder.captions.templates)
        return self.builder.trained(self.candidates(index), epoch, (row, template))


class AuxiliaryDataset(Dataset[Sample]):
    """Training samples of an auxiliary set of a mix.

    Args:
        dataset: samples of the set.
        first_label: label of its first class in the batches, beyond those of other classes.
        prefix: beginning of the locations of its unreadable images.
    """

    def __init__(self, dataset: CaptionedDataset, first_label: int, prefix: str) -> None:
        self.dataset, self.first_label, self.prefix = dataset, first_label, prefix

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """Return the sample of ``key`` = (epoch, index)."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Sequence[Sample]:
        """Return the samples of several keys."""
        return [self._mark(sample) for sample in self.dataset.__getitems__(keys)]

    def _mark(self, sample: Sample) -> Sample:
        label = sample.label if sample.label < 0 else self.first_label + sample.label
        return sample._replace(
            label=label, unreadable=tuple(f"{self.prefix}{location}" for location in sample.unreadable)
        )


def stacked(samples: Sequence[Sample]) -> Batch:
    """Images (B, 3, H, W) uint8, texts (B, L), labels (B,), indices (B,), and values to predict (B, ...), if any."""
    targets = [sample.target for sample in samples if sample.target is not None]
    return Batch(
        images=torch.stack([sample.image for sample in samples]),
        texts=torch.stack([sample.text for sample in samples]),
        labels=torch.tensor([sample.label for sample in samples]),
        indices=torch.tensor([sample.position for sample in samples]),
        unreadable=tuple(origin for sample in samples for origin in sample.unreadable),
        targets=torch.stack(targets) if targets else None,
    )


def dedup_and_trim(batch: Batch, trims_text: bool) -> Batch:
    """A whole batch whose texts (B, L) become (U, L'): cut to the longest, and each there once where they repeat.

    Args:
        batch: all that one step encodes.
        trims_text: whether the model allows cutting.
    """
    texts, text_of = unique_captions(trim_tokens(batch.texts) if trims_text else batch.texts)
    return batch._replace(texts=texts, text_of=text_of)


class Collate:
    """Samples to a whole batch.

    Args:
        trims_text: whether texts may be cut to the longest one of a batch.
    """

    def __init__(self, trims_text: bool) -> None:
        self.trims_text = trims_text

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """See :func:`stacked` and :func:`dedup_and_trim`."""
        return dedup_and_trim(stacked(samples), self.trims_text)
