"""The SLURM job that this process belongs to, and its requeueing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

TIMEOUT = 30
"""Timeout of scontrol in seconds."""
REQUEUE_STATUS = 128 + signal.SIGUSR1
"""Exit status of a process that was stopped by the signal that asks for the job to be requeued."""
STOP_STATUSES = (REQUEUE_STATUS, 128 + signal.SIGTERM)
RUNNING_STATES = ("RUNNING", "SIGNALING")
"""States of a job that has not been ended by its user, its time limit, or SLURM at the end of the grace period."""
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
"""Environment variables that are 0, or absent, in the first process of a job."""


class JobState(NamedTuple):
    """State of a job according to SLURM."""

    name: str
    """Identifier of the job for scontrol; of one task, in an array."""
    runs: bool
    """Whether the job is neither ending nor queued."""
    preempted: bool
    """Whether the job runs in the grace period before it is preempted."""


class SlurmJob:
    """The SLURM job that this process runs in, if any.

    A preempted job receives SIGTERM when its grace period begins. SLURM requeues it when the period ends, but counts it
    as failed if it has stopped by itself before. A job that its user cancels, or whose time limit is reached, is no
    longer in a running state when it receives SIGTERM, and must not be requeued.
    """

    def __init__(self) -> None:
        self.requeues = True
        """Whether the job may be requeued."""

    def is_preempted(self) -> bool:
        """Whether the job is being preempted, and SLURM has not requeued it yet."""
        try:
            return self._state().preempted
        except OSError as error:
            _say(f"warning: SLURM does not say whether it preempts this job: {error}")
            return False

    @contextmanager
    def requeue_on_preemption(self) -> Iterator[None]:
        """Requeue the job where preemption or SIGUSR1 ends the code in this context.

        The first process does so for all, also when it loses another process to preemption before it receives the
        signal itself. Other processes that are stopped exit with status 0: a failure would make srun kill the first.
        """
        try:
            yield
        except BaseException as end:
            status = end.code if isinstance(end, SystemExit) else 1
            if status and "SLURM_JOB_ID" in os.environ:
                if all(os.environ.get(name, "0") == "0" for name in RANK_VARIABLES):
                    self._requeue(status)
                elif status in STOP_STATUSES:
                    raise SystemExit(0) from None
            raise

    def _requeue(self, status: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # SLURM sends it again to a job that is requeued
        try:
            state = self._state()
            if self.requeues and (state.preempted or (state.runs and status == REQUEUE_STATUS)):
                _scontrol("requeue", state.name)
                _say(f"job {state.name} is in the queue again")
        except OSError as error:
            if status in STOP_STATUSES:
                _say(f"warning: this job could not be put into SLURM's queue again: {error}")

    def _state(self) -> JobState:
        job = os.environ["SLURM_JOB_ID"]
        records = _scontrol("show", "job", job)  # of an array's first job, the records of all tasks
        for record in records.split("\n\n"):
            identity = re.match(rf"JobId={job} (?:ArrayJobId=(\d+) ArrayTaskId=(\d+) )?", record.strip())
            job_state = re.search(r"^ +JobState=(\w+)", record, re.MULTILINE)
            if identity and job_state:
                runs = job_state[1] in RUNNING_STATES
                preempted = runs and re.search(r"^ .*\bPreemptTime=\d", record, re.MULTILINE) is not None
                return JobState("_".join(filter(None, identity.groups())) or job, runs, preempted)
        raise OSError(f"scontrol show job {job}: its output does not list the job")


def _scontrol(*arguments: str) -> str:
    command = ["scontrol", *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise OSError(f"{' '.join(command)}: no answer within {TIMEOUT} s") from None
    if result.returncode:
        raise OSError(f"{' '.join(command)}: {' '.join(result.stderr.split()) or f'status {result.returncode}'}")
    return result.stdout


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


JOB = SlurmJob()
"""The SLURM job of this process."""
