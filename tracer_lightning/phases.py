"""Where the time of a run goes: seconds by phase, of which each moment belongs to one, the innermost."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

OTHER = "other"
"""Phase of what belongs to no other one."""


class Phases:
    """Seconds by phase since it was made, or since they were last taken."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self._active = [OTHER]
        self._since = time.perf_counter()

    @property
    def is_idle(self) -> bool:
        """Whether no phase is being measured."""
        return len(self._active) == 1

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count the time of the block for the phase ``name``, and not for a phase around it."""
        self._count()
        self._active.append(name)
        try:
            yield
        finally:
            self._count()
            self._active.pop()

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, in the order in which the phases were first interrupted or ended."""
        self._count()
        named = {name: seconds for name, seconds in self._seconds.items() if name != OTHER}
        return {**named, OTHER: self._seconds[OTHER]}

    def take(self) -> dict[str, float]:
        """The same; counting starts again from zero."""
        taken = self.seconds()
        self._seconds.clear()
        return taken

    def _count(self) -> None:
        now = time.perf_counter()
        self._seconds[self._active[-1]] += now - self._since
        self._since = now


_current: ContextVar[Phases | None] = ContextVar("phases", default=None)


@contextmanager
def measure_phases() -> Iterator[Phases]:
    """Measure what runs in the block, by the phases that :func:`phase` marks in it.

    Where it is called between the phases of an enclosing measurement, it goes on with that one: a run includes the
    imports that preceded it. Within a phase of it, such as the training of a prerequisite, it is a new one.
    """
    enclosing = _current.get()
    phases = enclosing if enclosing is not None and enclosing.is_idle else Phases()
    token = _current.set(phases)
    try:
        yield phases
    finally:
        _current.reset(token)


def seconds_by_phase() -> dict[str, float]:
    """Seconds so far of what is being measured; empty where nothing is."""
    phases = _current.get()
    return {} if phases is None else phases.seconds()


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Mark the block, or the decorated function, as a phase; without an effect where nothing is measured."""
    phases = _current.get()
    if phases is None:
        yield
        return
    with phases.measure(name):
        yield
