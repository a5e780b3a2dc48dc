"""Loading processes, which outlive the signals that ask a run to stop, and whose errors reach the run."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from multiprocessing.queues import Queue
from typing import Any

from torch._utils import ExceptionWrapper

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def init_worker(worker: int) -> None:
    """Start a loading process; for ``DataLoader(worker_init_fn=)``.

    It lives on where all processes of a run are sent a signal, because the run finishes its step first: SLURM sends
    SIGTERM twice within a moment. A batch that can't be sent, for lack of memory, say, is an error of the run, which
    would wait for it forever: Python prints a traceback and drops what its queues can't send.
    """
    for signum in IGNORED:
        signal.signal(signum, signal.SIG_IGN)

    def report(queue: Any, error: Exception, item: tuple[int, Any]) -> None:
        number, data = item
        if isinstance(data, ExceptionWrapper):  # this could not be sent, either
            os._exit(1)
        queue.put((number, ExceptionWrapper(where=f"in DataLoader worker process {worker}")))  # type: ignore[no-untyped-call]

    Queue._on_queue_feeder_error = report  # type: ignore[attr-defined]


@atexit.register
def end_workers() -> None:
    """Python sends its daemons one SIGTERM at its end and then waits for them, which would be for ever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
