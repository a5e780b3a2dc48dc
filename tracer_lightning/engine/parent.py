"""Processes that another one started for a run or a sweep end with it, however that one ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time

STARTED_BY = "TRACER_STARTED_BY"
"""Environment variable with the process whose children, DDP's other ranks, end with it."""
PAUSE = 0.5
"""Seconds between looks. Linux can tell a child by a signal, but sends it when the parent's *thread* ends."""
OWN_END = 10.0
"""Seconds for a rank to notice by itself, and to say which checkpoint is left."""


def end_with_launcher() -> None:
    """End this process, where Lightning started it as a further rank, with the first one, which may be gone already.

    Those of other launchers, which set ``RANK``, too, may have inherited the variable from one of our processes.
    """
    started_by = os.environ.get(STARTED_BY)
    if started_by and os.environ.get("LOCAL_RANK", "0") != "0" and "RANK" not in os.environ:
        _watch(int(started_by), OWN_END)


def end_with_sweep() -> None:
    """End this process, one of joblib's, with the process of the sweep; its run is one that was killed.

    The ranks that it starts are to end with it.
    """
    os.environ[STARTED_BY] = str(os.getpid())
    sweep = multiprocessing.parent_process()
    if sweep is not None and sweep.pid is not None:
        _watch(sweep.pid, 0.0)


def _watch(parent: int, patience: float) -> None:
    name = f"watch of {parent}"
    if any(thread.name == name for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PAUSE)
        time.sleep(patience)
        with contextlib.suppress(OSError):
            os.write(2, b"error: another process of this run was lost: the one that started this one\n")
        for child in multiprocessing.active_children():
            child.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name=name, daemon=True).start()
