"""Initialisation and termination of ``DataLoader`` workers."""

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
    """Ignore stop signals in a worker and report batches that can't be sent; for ``DataLoader(worker_init_fn=)``.

    Workers must survive signals that are sent to all processes of a run, because the run finishes its step first; SLURM
    sends SIGTERM twice in quick succession. A batch that can't be sent to the main process, for example for lack of
    memory, is raised there as an error. By default Python prints a traceback and drops the batch, and the run waits for
    it forever.
    """
    for signum in IGNORED:
        signal.signal(signum, signal.SIG_IGN)

    def report(queue: Any, error: Exception, item: tuple[int, Any]) -> None:
        index, data = item
        if isinstance(data, ExceptionWrapper):  # the report itself could not be sent
            os._exit(1)
        queue.put((index, ExceptionWrapper(where=f"in DataLoader worker process {worker}")))  # type: ignore[no-untyped-call]

    Queue._on_queue_feeder_error = report  # type: ignore[attr-defined]


@atexit.register
def end_workers() -> None:
    """Kill daemon processes: at exit Python sends them a SIGTERM, which workers ignore, and waits for them forever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
