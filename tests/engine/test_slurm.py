"""What a job does that SLURM answers in one way or another; tests/faults/test_slurm.py has a real SLURM."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.processes import ROOT, error_lines, finish, start
from tracer_lightning.engine import slurm
from tracer_lightning.engine.signals import Stopped, StopSignals
from tracer_lightning.engine.slurm import SlurmJob

RUNS = (
    "JobId=7 JobName=x\n   JobState=RUNNING Reason=None\n   PreemptEligibleTime=2026-01-01T00:00:00 PreemptTime=None\n"
)
PREEMPTED = RUNS.replace("PreemptTime=None", "PreemptTime=2026-01-01T00:00:00")
SIGNALLED = PREEMPTED.replace("RUNNING", "SIGNALING")
CANCELLED = PREEMPTED.replace("RUNNING", "COMPLETING")
NAMED = RUNS.replace("JobName=x", "JobName=x JobState=RUNNING PreemptTime=2026-01-01T00:00:00")
TASK = "JobId={} ArrayJobId=7 ArrayTaskId={} JobName=x"
ARRAY = (
    RUNS.replace("JobId=7 JobName=x", TASK.format(8, 0))
    + "\n"
    + PREEMPTED.replace("JobId=7 JobName=x", TASK.format(7, 1))
)


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Have a stand-in for scontrol answer; the requests that it was sent are in the file that it returns."""

    def answers(show, requeue="true"):
        (tmp_path / "shown").write_text(show)
        script = f'echo "$*" >> {tmp_path}/requests\nif [ $1 = show ]; then cat {tmp_path}/shown; else {requeue}; fi\n'
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{script}")
        (tmp_path / "scontrol").chmod(0o755)
        return tmp_path / "requests"

    for name in slurm.RANK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    before = signal.getsignal(signal.SIGTERM)
    yield answers
    signal.signal(signal.SIGTERM, before)


def stop(signum=signal.SIGTERM, requeues=True):
    """A job that a signal stops; its status."""
    job = SlurmJob()
    job.requeues = requeues
    with pytest.raises(SystemExit) as end, job.requeue_on_preemption():
        raise Stopped(signum)
    return end.value.code


@pytest.mark.parametrize(
    ("show", "signum", "requeued"),
    [
        (PREEMPTED, signal.SIGTERM, "7"),
        (SIGNALLED, signal.SIGTERM, "7"),
        (ARRAY, signal.SIGTERM, "7_1"),
        (RUNS, signal.SIGUSR1, "7"),
        (RUNS, signal.SIGTERM, None),
        (NAMED, signal.SIGTERM, None),
        (CANCELLED, signal.SIGTERM, None),
        (CANCELLED, signal.SIGUSR1, None),
    ],
)
def test_only_a_job_that_nobody_has_ended_comes_back(scontrol, capsys, show, signum, requeued):
    requests = scontrol(show)
    assert stop(signum) == 128 + signum
    assert requests.read_text() == "show job 7\n" + (f"requeue {requeued}\n" if requeued else "")
    assert capsys.readouterr().out == (f"job {requeued} is in the queue again\n" if requeued else "")


def test_lightning_s_setting_leaves_the_queue_alone(scontrol):
    requests = scontrol(PREEMPTED)
    stop(signal.SIGUSR1, requeues=False)
    assert requests.read_text() == "show job 7\n"


def test_a_preempted_job_comes_back_whatever_ends_it_before_its_signal(scontrol):
    requests = scontrol(PREEMPTED)
    with pytest.raises(OSError, match="lost"), SlurmJob().requeue_on_preemption():
        raise OSError("another process of this run was lost")
    assert "requeue 7" in requests.read_text()


def test_a_complete_job_asks_nothing(scontrol):
    requests = scontrol(PREEMPTED)
    with SlurmJob().requeue_on_preemption():
        pass
    with pytest.raises(SystemExit), SlurmJob().requeue_on_preemption():
        raise SystemExit(0)
    assert not requests.exists()


@pytest.mark.parametrize("rank", slurm.RANK_VARIABLES)
def test_only_the_first_process_asks_and_the_others_end_well(scontrol, monkeypatch, rank):
    requests = scontrol(PREEMPTED)
    monkeypatch.setenv(rank, "1")
    assert stop() == 0
    assert not requests.exists()


@pytest.mark.parametrize(
    ("show", "requeue", "warning"),
    [
        (PREEMPTED, "echo 'Requested operation is presently disabled for job 7\n' >&2; false", "disabled for job 7"),
        (PREEMPTED, "exit 3", "requeue 7: status 3"),
        (PREEMPTED, "sleep 60", "requeue 7: no answer within 1 s"),
        ("", "true", "does not list the job"),
    ],
)
def test_what_scontrol_does_not_do_is_one_line(scontrol, monkeypatch, capsys, show, requeue, warning):
    monkeypatch.setattr(slurm, "TIMEOUT", 1)
    scontrol(show, requeue)
    assert stop() == 143
    output = capsys.readouterr().out
    assert output.startswith("warning: this job could not be put into SLURM's queue again: ")
    assert warning in output
    assert output.count("\n") == 1


def test_a_job_without_scontrol_is_one_line(scontrol, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert stop() == 143
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(("show", "called"), [(PREEMPTED, ["requeued"]), (RUNS, []), ("", [])])
def test_a_job_of_submitit_s_is_requeued_by_it_or_ends(scontrol, show, called):
    """Not passed over, as submitit would have it, until SLURM kills the job and its work since the last checkpoint."""
    scontrol(show)
    before, calls = signal.getsignal(signal.SIGUSR2), []
    signal.signal(signal.SIGTERM, lambda *_: calls.append("bypassed"))
    signal.signal(signal.SIGUSR2, lambda *_: calls.append("requeued"))
    try:
        with StopSignals() as signals:
            signals.deferred = True
            os.kill(os.getpid(), signal.SIGTERM)
            if called:
                signals.act()
            else:
                with pytest.raises(Stopped):
                    signals.act()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert calls == called


def handles_signals(pid):
    mask = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(mask[1], 16) >> (signal.SIGTERM - 1) & 1


@pytest.mark.parametrize("script", ["train.py", "scripts/evaluate.py"])
def test_a_command_that_still_composes_is_heeded(scontrol, tmp_path, script):
    requests = scontrol(PREEMPTED)
    process = start("run=x", cwd=tmp_path, script=ROOT / script)
    while not handles_signals(process.pid):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status, output, errors = finish(process)
    assert (status, output, error_lines(errors)) == (143, "job 7 is in the queue again\n", [])
    assert requests.read_text() == "show job 7\nrequeue 7\n"
