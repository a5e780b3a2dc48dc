"""Standard streams that never fail: a closed terminal or pipe does not end a run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tracer_lightning.engine.memory import OutOfMemory

OUT, ERR = 1, 2
NAMES = {OUT: "standard output", ERR: "standard error"}


class _Output(io.FileIO):
    """A standard stream that is redirected to /dev/null, also for child processes, once it can't be written to.

    A reader that closes a pipe (``| head``) is no error; any other reason is reported on the other stream.

    Args:
        descriptor: file descriptor of standard output or error.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.lost = False
        """Whether output was lost, other than by a closed pipe."""

    def write(self, data: Any) -> int:
        """Write the data, or discard them where that fails."""
        try:
            written: int = super().write(data)
            return written
        except OSError as error:
            _discard(self.fileno())
            if not isinstance(error, BrokenPipeError):
                self.lost = True
                line = f"error: {NAMES[self.fileno()]} can't be written: {error.strerror}; what follows is discarded\n"
                with contextlib.suppress(OSError):
                    os.write(ERR if self.fileno() == OUT else OUT, line.encode())
            return memoryview(data).nbytes


def _discard(descriptor: int) -> None:
    """Redirect a file descriptor to /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    if null == descriptor:  # the descriptor was closed
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(null, descriptor)
        os.close(null)


def _open_closed() -> None:
    """Open the streams that the caller has closed (``>&-``): else the next file opened would receive their output."""
    for descriptor in (0, OUT, ERR):
        try:
            os.fstat(descriptor)
        except OSError:
            _discard(descriptor)


def _text(stream: Any, output: _Output) -> io.TextIOWrapper:
    attributes = () if stream is None else ("encoding", "errors", "line_buffering")
    return io.TextIOWrapper(io.BufferedWriter(output), **{name: getattr(stream, name) for name in attributes})


@contextlib.contextmanager
def lenient_streams() -> Iterator[Sequence[_Output]]:
    """A context in which printing never fails; yields the streams, or none where they have been replaced already."""
    before = sys.stdout, sys.stderr
    if before != (sys.__stdout__, sys.__stderr__):
        yield []
        return
    _open_closed()
    outputs = [_Output(OUT), _Output(ERR)]
    streams = [_text(*pair) for pair in zip(before, outputs, strict=True)]
    sys.stdout, sys.stderr = streams
    try:
        yield outputs
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """:func:`lenient_streams` for a command, whose status is 1 where output was lost and nothing else failed."""
    stop: SystemExit | None = None
    with lenient_streams() as outputs:
        try:
            yield
        except SystemExit as error:
            stop = error
    if outputs and isinstance(stop, OutOfMemory):  # the interpreter would report everything that it can't clean up
        _discard(ERR)
    if any(output.lost for output in outputs) and not (stop and stop.code):
        raise SystemExit(1)
    if stop is not None:
        raise stop
