"""Training loaders that know how far they have been consumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from tracer_lightning.data.core.sampler import EpochPosition, EpochSampler, RowSampler
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.samples import CaptionedDataset, CaptionedRows, SampleBuilder
from tracer_lightning.types import Batch


class CountedLoader:
    """Batches, counted when handed over rather than when prefetched.

    It is no ``DataLoader``, so that Lightning neither replaces its sampler nor restores its state behind our back;
    Lightning finds ``sampler.set_epoch`` and ``len``. Subclasses give the remaining batches of the epoch.

    Args:
        position: in the training data.
    """

    def __init__(self, position: EpochPosition) -> None:
        self.sampler = position

    def __len__(self) -> int:
        """Batches of a whole epoch, also where it is continued in the middle."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The remaining batches of the epoch."""
        for batch in self.remaining():
            self.sampler.consumed += self.sampler.batch_size
            yield batch

    def remaining(self) -> Iterator[Batch]:
        """What is left of the epoch from the position on."""
        raise NotImplementedError


class ResumableLoader(CountedLoader):
    """Batches of a sampler.

    Args:
        dataset: maps the sampler's keys to samples.
        sampler: the order.
        options: for the ``DataLoader`` within.
    """

    def __init__(self, dataset: Dataset[Any], sampler: EpochSampler | RowSampler, **options: Any) -> None:
        super().__init__(sampler)
        self._loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler, **options)

    @classmethod
    def of(cls, source: ImageSource, preparation: SampleBuilder, *place: int, **options: Any) -> ResumableLoader:
        """Every image of a source once an epoch.

        Args:
            source: the images.
            preparation: to training samples.
            place: as :class:`EpochPosition` takes it behind the size.
            options: for the ``DataLoader`` within.
        """
        return cls(CaptionedDataset(source, preparation), EpochSampler(len(source), *place), **options)

    def remaining(self) -> Iterator[Batch]:
        """The batches that the sampler still gives."""
        return iter(self._loader)


class RowLoader(ResumableLoader):
    """Batches of rows of images x templates (:class:`RowSampler`)."""

    @classmethod
    def of(cls, source: ImageSource, preparation: SampleBuilder, *place: int, **options: Any) -> ResumableLoader:
        """Rows of a source's images and the templates of the preparation's captions."""
        assert preparation.captions is not None
        sampler = RowSampler(len(source), preparation.captions.templates, *place)
        return cls(CaptionedRows(source, preparation), sampler, **options)
