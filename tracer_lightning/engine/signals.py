"""Handling of the signals that stop a run."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from tracer_lightning.engine.slurm import JOB

FOREIGN_SIGNALS = (signal.SIGUSR2,)
"""Signals handled only where another handler is installed: submitit requeues its job on this one."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, *FOREIGN_SIGNALS)


class Stopped(SystemExit):
    """Exit because of a signal, with status 128 + the signal's number, as shells report it.

    Args:
        signum: number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signal.Signals(signum)


class StopSignals(ContextDecorator):
    """A context in which SIGINT, SIGTERM and SIGUSR1 end the run with :class:`Stopped`.

    They do so immediately unless :attr:`deferred`: then the signal is only recorded, and training calls :meth:`act`
    when its state is consistent. A second SIGINT ends the process immediately. Contexts may be nested, and have no
    effect outside the main thread.

    Handlers that were installed before are respected: SIGTERM and SIGINT are left to them, and SIGUSR1 and SIGUSR2 are
    passed to them when the state is consistent (submitit's handlers ignore SIGTERM, and requeue the job on SIGUSR2).
    SIGTERM is handled nevertheless in a SLURM job with a handler of SIGUSR2: a preempted job calls that handler, and a
    cancelled job ends.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """Number of the signal that was received and has not been acted on."""
        self.deferred = False
        self._depth = 0
        self._previous: dict[int, Any] = {}
        self._installed: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            self.requested, self.deferred = None, False
            self._previous = {signum: signal.getsignal(signum) for signum in STOP_SIGNALS}
            self._installed = {signum: self._choose(signum) for signum in STOP_SIGNALS}
            self.install()
        return self

    def __exit__(self, *_: Any) -> None:
        self._depth -= 1
        self.deferred = False
        if self._depth == 0:
            self._installed, self._previous = self._previous, {}
            self.install()
            self._installed, self.requested = {}, None

    def install(self) -> None:
        """Install the handlers, again where other code has replaced them since, as Lightning does."""
        for signum, handler in self._installed.items():
            signal.signal(signum, handler)

    def _choose(self, signum: int) -> Any:
        previous, has_foreign = self._previous[signum], self._foreign(signum) is not None
        if signum in FOREIGN_SIGNALS:
            return self._handle if has_foreign else previous
        left_alone = (signal.SIGINT,) if self._has_foreign_requeue else (signal.SIGINT, signal.SIGTERM)
        return previous if (has_foreign and signum in left_alone) or previous == signal.SIG_IGN else self._handle

    @property
    def _has_foreign_requeue(self) -> bool:
        return "SLURM_JOB_ID" in os.environ and self._foreign(signal.SIGUSR2) is not None

    def _foreign(self, signum: int) -> Callable[[int, Any], Any] | None:
        previous = self._previous.get(signum)
        return previous if callable(previous) and previous is not signal.default_int_handler else None

    def _handle(self, signum: int, frame: Any) -> None:
        del frame
        if self.requested is None:
            self.requested = signum
            if not self.deferred:
                self.act()
                return
            again = " (press Ctrl-C again to stop at once)" if signum == signal.SIGINT else ""
            with contextlib.suppress(OSError):  # stderr may be closed
                os.write(2, f"{signal.Signals(signum).name}: stopping after this step{again}\n".encode())
        elif signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def act(self, signum: int | None = None) -> None:
        """End the run, or call the previous handler, if a signal was received.

        Args:
            signum: signal that another process received; None for that of this process.

        Raises:
            Stopped: the signal ends the run.
        """
        signum = self.requested if signum is None else signum
        if signum is None:
            return
        if signum == signal.SIGTERM and self._has_foreign_requeue and JOB.is_preempted():
            signum = signal.SIGUSR2
        foreign = None if signum == signal.SIGTERM else self._foreign(signum)
        if foreign is None:
            raise Stopped(signum)
        self.requested = None
        foreign(signum, None)


SIGNALS = StopSignals()
"""The signal handlers of this process."""
