"""Prefetching across consecutive loaders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


class PrefetchNextLoader:
    """Loader that starts the workers of the next loader before its own batches end.

    Lightning iterates over evaluation sets one after the other and opens each when the previous one ends; without this
    class the device waits while the next loader's workers start to decode.

    Args:
        loader: wrapped loader of known length.
        following: next loader; None for the last one.
        ahead: number of batches before the end at which the next loader is started; usually the number of batches that
            the workers prefetch.
    """

    def __init__(self, loader: Any, following: PrefetchNextLoader | None, ahead: int) -> None:
        self.loader, self.following, self.ahead = loader, following, ahead
        self._started: Iterator[Any] | None = None

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.loader)

    def start(self) -> None:
        """Start the workers; the next iteration uses their batches."""
        if self._started is None:
            self._started = iter(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """Yield all batches."""
        self.start()
        batches, self._started = self._started, None
        assert batches is not None
        for number, batch in enumerate(batches):
            if self.following is not None and number + self.ahead >= len(self):
                self.following.start()
            yield batch


def prefetch_next(loaders: Sequence[Iterable[Any]], ahead: int) -> list[Iterable[Any]]:
    """Chain loaders of known length by :class:`PrefetchNextLoader`; those of unknown length stay as they are."""
    chained: list[Iterable[Any]] = []
    following: PrefetchNextLoader | None = None
    for loader in reversed(loaders):
        if hasattr(loader, "__len__"):
            loader = following = PrefetchNextLoader(loader, following, ahead)
        chained.append(loader)
    return chained[::-1]
