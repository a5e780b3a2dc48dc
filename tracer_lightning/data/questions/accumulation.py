"""Batches that know how many answered positions the batches of their optimizer step have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from tracer_lightning.data.core.loader import CountedLoader
from tracer_lightning.types import IGNORE_INDEX, Conversations


class AccumulationLoader(CountedLoader):
    """Training batches whose ``step_tokens`` make an accumulated gradient that of a single large batch.

    Lightning divides the loss of each batch by the number of batches that it accumulates, also in an epoch's last step
    where fewer are left. All batches of a step are loaded before its first one is yielded. Checkpoints are written
    between steps, so that a resumed run begins with the first batch of a step.

    Args:
        loader: loader of the batches, whose position this one advances.
        accumulated: number of batches of an optimizer step.
        batches_per_epoch: returns the number of batches after which the trainer ends an epoch.
    """

    def __init__(self, loader: CountedLoader, accumulated: int, batches_per_epoch: Callable[[], float]) -> None:
        super().__init__(loader.sampler)
        self._loader, self._accumulated, self._batches_per_epoch = loader, accumulated, batches_per_epoch

    def remaining(self) -> Iterator[Conversations]:
        """Iterate over the batches of the epoch from the current position."""
        batches = self._loader.remaining()
        left = int(min(len(self), self._batches_per_epoch())) - self.sampler.consumed // self.sampler.batch_size
        while step := list(islice(batches, min(self._accumulated, max(left, 0)))):
            answered = sum(int((batch.targets != IGNORE_INDEX).sum()) for batch in step)
            for batch in step:
                yield batch._replace(step_tokens=answered / self._accumulated)
            left -= len(step)
