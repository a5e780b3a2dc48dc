"""Loading processes, which outlive the signals that ask a run to stop."""

from __future__ import annotations

import atexit
import multiprocessing
import signal

IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def outlive_signals(worker: int) -> None:
    """Let a loading process live on where all processes of a run are sent a signal: the run finishes its step first.

    SLURM sends SIGTERM twice within a moment. For ``DataLoader(worker_init_fn=)``.
    """
    del worker
    for signum in IGNORED:
        signal.signal(signum, signal.SIG_IGN)


@atexit.register
def end_workers() -> None:
    """Python sends its daemons one SIGTERM at its end and then waits for them, which would be for ever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
