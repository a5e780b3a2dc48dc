"""The SLURM job that this process belongs to, and its place in the queue."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

PATIENCE = 30
"""Seconds that scontrol has for an answer."""
ASKED = 128 + signal.SIGUSR1
"""Status of a process that was stopped by the signal that asks for another turn."""
STOPPED = (ASKED, 128 + signal.SIGTERM)
RUNNING = ("RUNNING", "SIGNALING")
"""States of a job that nobody has ended: neither its user, nor its time limit, nor SLURM at the end of the grace."""
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Environment variables that are 0, or absent, in the first process of a job."""


class Standing(NamedTuple):
    """What SLURM says about a job."""

    name: str
    """The job as scontrol takes it; a task of an array by itself."""
    runs: bool
    """Whether it is neither being ended nor in the queue."""
    preempted: bool
    """Whether it runs, in the grace period before it makes room for another job."""


class SlurmJob:
    """The job that this process runs in, where SLURM has started it.

    A preempted job is sent SIGTERM when its grace period begins. SLURM puts it into the queue again when the period
    ends, and counts it as failed where it has stopped in good order before. A job that its user cancels, or whose time
    is over, no longer runs when it is sent SIGTERM, and must not come back.
    """

    def __init__(self) -> None:
        self.requeues = True
        """Whether it may be put into the queue again."""

    def is_preempted(self) -> bool:
        """Whether it must make room for another job, and SLURM has not put it into the queue again by itself."""
        try:
            return self._standing().preempted
        except OSError as error:
            _say(f"warning: SLURM does not say whether it preempts this job: {error}")
            return False

    @contextmanager
    def kept_in_queue(self) -> Iterator[None]:
        """Put the job into the queue again where preemption, or SIGUSR1, ends what runs within.

        The first process does so for all; where it loses another to preemption before it is sent the signal itself,
        too. Others that are stopped end with status 0: a failure would have srun kill the first one.
        """
        try:
            yield
        except BaseException as end:
            status = end.code if isinstance(end, SystemExit) else 1
            if status and "SLURM_JOB_ID" in os.environ:
                if all(os.environ.get(name, "0") == "0" for name in RANKS):
                    self._put_back(status)
                elif status in STOPPED:
                    raise SystemExit(0) from None
            raise

    def _put_back(self, status: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM sends it again to what it has put into the queue
        try:
            standing = self._standing()
            if self.requeues and (standing.preempted or (standing.runs and status == ASKED)):
                _scontrol("requeue", standing.name)
                _say(f"job {standing.name} is in the queue again")
        except OSError as error:
            if status in STOPPED:
                _say(f"warning: this job could not be put into SLURM's queue again: {error}")

    def _standing(self) -> Standing:
        job = os.environ["SLURM_JOB_ID"]
        shown = _scontrol("show", "job", job)  # for the job that an array is named after, all of its tasks
        for record in shown.split("\n\n"):
            identity = re.match(rf"JobId={job} (?:ArrayJobId=(\d+) ArrayTaskId=(\d+) )?", record.strip())
            state = re.search(r"^ +JobState=(\w+)", record, re.MULTILINE)
            if identity and state:
                runs = state[1] in RUNNING
                preempted = runs and re.search(r"^ .*\bPreemptTime=\d", record, re.MULTILINE) is not None
                return Standing("_".join(filter(None, identity.groups())) or job, runs, preempted)
        raise OSError(f"scontrol show job {job}: no such job in its answer")


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise OSError(f"{' '.join(command)}: no answer within {PATIENCE} s") from None
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {' '.join(result.stderr.split()) or f'status {result.returncode}'}")
    return result.stdout


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


JOB = SlurmJob()
"""The job of this process."""
