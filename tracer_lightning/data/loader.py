"""A training loader that knows how far it has been consumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from tracer_lightning.data.sampler import EpochSampler
from tracer_lightning.types import Batch


class ResumableLoader:
    """Batches of an :class:`EpochSampler`, counted when handed over rather than when prefetched.

    It is no ``DataLoader``, so that Lightning neither replaces its sampler nor restores its state behind our back;
    Lightning finds ``sampler.set_epoch`` and ``len``.

    Args:
        dataset: maps (epoch, index) keys to samples.
        sampler: the order.
        options: for the ``DataLoader`` within.
    """

    def __init__(self, dataset: Dataset[Any], sampler: EpochSampler, **options: Any) -> None:
        self.sampler = sampler
        self._loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler, **options)

    def __len__(self) -> int:
        """Batches of a whole epoch, also where it is continued in the middle."""
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        """The remaining batches of the epoch."""
        for batch in self._loader:
            self.sampler.consumed += self.sampler.batch_size
            yield batch
