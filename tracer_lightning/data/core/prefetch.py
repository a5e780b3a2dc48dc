"""Several loaders in a row, without a pause between one and the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


class PrefetchNextLoader:
    """A loader that starts the next one's workers while its own finish.

    Lightning goes through evaluation sets one after the other, and opens each when the last is through: its workers
    then begin to decode while the device waits.

    Args:
        loader: of known length.
        following: the loader that comes next; None for the last.
        ahead: batches before the end at which the following one is started: as many as the workers have begun by then.
    """

    def __init__(self, loader: Any, following: PrefetchNextLoader | None, ahead: int) -> None:
        self.loader, self.following, self.ahead = loader, following, ahead
        self._started: Iterator[Any] | None = None

    def __len__(self) -> int:
        """Batches."""
        return len(self.loader)

    def start(self) -> None:
        """Let the workers begin; the next iteration takes what they bring."""
        if self._started is None:
            self._started = iter(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """All batches."""
        self.start()
        batches, self._started = self._started, None
        assert batches is not None
        for number, batch in enumerate(batches):
            if self.following is not None and number + self.ahead >= len(self):
                self.following.start()
            yield batch


def prefetch_next(loaders: Sequence[Iterable[Any]], ahead: int) -> list[Iterable[Any]]:
    """These loaders, each of known length in a :class:`PrefetchNextLoader` to the next of known length."""
    found: list[Iterable[Any]] = []
    following: PrefetchNextLoader | None = None
    for loader in reversed(loaders):
        if hasattr(loader, "__len__"):
            loader = following = PrefetchNextLoader(loader, following, ahead)
        found.append(loader)
    return found[::-1]
