"""Termination of the processes that were started for a run or a sweep, when the process that started them is gone."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time

STARTED_BY = "TRACER_STARTED_BY"
"""Environment variable with the id of the process whose children, the further ranks of DDP, end with it."""
POLL_INTERVAL = 0.5
"""Number of seconds between checks. Linux can signal a child, but does so when the parent's *thread* ends."""
GRACE_PERIOD = 10.0
"""Number of seconds in which a rank can fail by itself, and report the last good checkpoint."""


def end_with_launcher() -> None:
    """Have this process, if Lightning started it as a further rank, end with the first rank.

    Ranks of other launchers, which set ``RANK``, may have inherited the variable, and are left alone.
    """
    started_by = os.environ.get(STARTED_BY)
    if started_by and os.environ.get("LOCAL_RANK", "0") != "0" and "RANK" not in os.environ:
        _watch(int(started_by), GRACE_PERIOD)


def end_with_sweep() -> None:
    """Have this process, if joblib started it, end with the process of the sweep, and its own ranks end with it."""
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
            time.sleep(POLL_INTERVAL)
        time.sleep(patience)
        with contextlib.suppress(OSError):
            os.write(2, b"error: another process of this run was lost: the one that started this one\n")
        for child in multiprocessing.active_children():
            child.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name=name, daemon=True).start()
