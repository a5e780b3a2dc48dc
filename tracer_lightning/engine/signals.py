"""Signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Any

from tracer_lightning.engine.slurm import JOB

FOREIGN_ONLY = (signal.SIGUSR2,)
"""Heeded where somebody does: submitit puts its job into the queue again on this one."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, *FOREIGN_ONLY)


class Stopped(SystemExit):
    """A signal ended the run. The process exits with 128 + the signal's number, as shells say it.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signal.Signals(signum)


class StopSignals(ContextDecorator):
    """Within its context, SIGINT, SIGTERM and SIGUSR1 end the run by :class:`Stopped`.

    At once, but while :attr:`deferred`: then the signal is only noted, and training calls :meth:`act` where everything
    is consistent. A second SIGINT ends the process on the spot. Contexts may be nested; only the main thread's count.

    A handler that was there before is respected: SIGTERM and SIGINT are left to it, SIGUSR1 and SIGUSR2 are handed on
    to it at a consistent moment (submitit's ignores SIGTERM, and on SIGUSR2 puts the job into the queue and exits).
    SIGTERM of a SLURM job that has a handler of SIGUSR2 is heeded all the same: a job that is preempted does what that
    handler does, and one that is cancelled ends.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """The signal that has come."""
        self.deferred = False
        self._depth = 0
        self._before: dict[int, Any] = {}
        self._wanted: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            self.requested, self.deferred = None, False
            self._before = {signum: signal.getsignal(signum) for signum in STOPS}
            self._wanted = {signum: self._choose(signum) for signum in STOPS}
            self.install()
        return self

    def __exit__(self, *_: Any) -> None:
        self._depth -= 1
        self.deferred = False
        if self._depth == 0:
            self._wanted, self._before = self._before, {}
            self.install()
            self._wanted, self.requested = {}, None

    def install(self) -> None:
        """Put the handlers in place; again where somebody else has done so since, as Lightning does."""
        for signum, handler in self._wanted.items():
            signal.signal(signum, handler)

    def _choose(self, signum: int) -> Any:
        before, foreign = self._before[signum], self._foreign(signum) is not None
        if signum in FOREIGN_ONLY:
            return self._handle if foreign else before
        left_alone = (signal.SIGINT,) if self._requeued_by_others else (signal.SIGINT, signal.SIGTERM)
        return before if (foreign and signum in left_alone) or before == signal.SIG_IGN else self._handle

    @property
    def _requeued_by_others(self) -> bool:
        return "SLURM_JOB_ID" in os.environ and self._foreign(signal.SIGUSR2) is not None

    def _foreign(self, signum: int) -> Callable[[int, Any], Any] | None:
        before = self._before.get(signum)
        return before if callable(before) and before is not signal.default_int_handler else None

    def _handle(self, signum: int, frame: Any) -> None:
        del frame
        if self.requested is None:
            self.requested = signum
            if not self.deferred:
                self.act()
            again = " (once more stops at once)" if signum == signal.SIGINT else ""
            with contextlib.suppress(OSError):  # whoever reads this may be gone
                os.write(2, f"{signal.Signals(signum).name}: stopping after this step{again}\n".encode())
        elif signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    def act(self, signum: int | None = None) -> None:
        """Do what the signal asks for, if one has come: end the run, or hand it on.

        Args:
            signum: where it came to another process.

        Raises:
            Stopped: the run ends.
        """
        signum = self.requested if signum is None else signum
        if signum is None:
            return
        if signum == signal.SIGTERM and self._requeued_by_others and JOB.is_preempted():
            signum = signal.SIGUSR2
        foreign = None if signum == signal.SIGTERM else self._foreign(signum)
        if foreign is None:
            raise Stopped(signum)
        self.requested = None
        foreign(signum, None)


SIGNALS = StopSignals()
"""The handlers of this process, which has one set of them."""
