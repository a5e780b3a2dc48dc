"""A sweep that runs several jobs at a time ends as a whole."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.faults.processes import ENDLESS, children, error_lines, finish, start, trains, wait_until

JOBLIB = ("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1", "run=x", "data.num_workers=1")


def descendants(pid):
    return [descendant for child in children(pid) for descendant in (child, *descendants(child))]


def is_alive(pid):
    """Whether it runs still; what nobody waits for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.exhaustive)])
def test_jobs_of_joblib_end_with_the_sweep(tmp_path, signum):
    """And with them what they have started; Ctrl-C goes to all, as a terminal sends it."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    process = start(*JOBLIB, *ENDLESS, cwd=tmp_path)
    for seed in (0, 1):
        wait_until(trains(tmp_path / f"outputs/digits/x/{seed}-tracer-seed{seed}"), process)
    started = descendants(process.pid)
    assert len(started) >= 4  # workers, and their loading processes
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    status, _, errors = finish(process, 60)  # the pipes are closed once all have ended
    assert status == (130 if signum == signal.SIGINT else -signum)
    end = time.monotonic() + 10  # a process closes its pipes before it has ended
    while any(map(is_alive, started)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [pid for pid in started if is_alive(pid)]
    assert "Traceback" not in errors
    lost = ["error: another process of this run was lost: the one that started this one"] * 2
    assert error_lines(errors) == ([] if signum == signal.SIGINT else lost)
