"""Training loaders that keep track of their position in the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from tracer_lightning.data.core.mix import MixedSampler
from tracer_lightning.data.core.sampler import EpochPosition, EpochSampler, RowSampler


class CountedLoader:
    """Base class of training loaders, which count a batch when it is yielded rather than when it is prefetched.

    It is not a ``DataLoader``, so that Lightning neither replaces its sampler nor restores its state; Lightning uses
    ``sampler.set_epoch`` and ``len``. Subclasses implement :meth:`remaining`.

    Args:
        position: position in the training data, advanced by the loader.
    """

    def __init__(self, position: EpochPosition) -> None:
        self.sampler = position

    def __len__(self) -> int:
        """Number of batches in a full epoch, also where the loader resumes in the middle of one."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Any]:
        """Yield the remaining batches of the epoch."""
        for batch in self.remaining():
            self.sampler.consumed += self.sampler.batch_size
            yield batch

    def remaining(self) -> Iterator[Any]:
        """Iterate over the batches of the epoch from the current position."""
        raise NotImplementedError


class ResumableLoader(CountedLoader):
    """Loader of the batches of a resumable sampler.

    Args:
        dataset: map from the sampler's keys to samples.
        sampler: order of the samples.
        options: further arguments of the wrapped ``DataLoader``.
    """

    def __init__(
        self, dataset: Dataset[Any], sampler: EpochSampler | RowSampler | MixedSampler, **options: Any
    ) -> None:
        super().__init__(sampler)
        self._loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler, **options)

    def remaining(self) -> Iterator[Any]:
        """Iterate over the sampler's remaining batches."""
        return iter(self._loader)
