"""Runs of the real command that something happens to."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.commands.helpers import TINY

ROOT = Path(__file__).parent.parent.parent
ENDLESS = (*TINY, "trainer.max_epochs=400", "callbacks.progress.refresh_rate=0", "trainer.check_val_every_n_epoch=400")
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
PATIENCE = 240
"""Seconds; a start takes some ten on an idle machine."""


def start(*overrides, cwd, launcher=(), script=ROOT / "train.py", **environment):
    """Begin a run in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, *launcher, str(script), *overrides],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process, within=PATIENCE):
    """Its (status, output, errors), all that it has started included: the pipes are closed."""
    try:
        output, errors = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        raise AssertionError(f"still running after {within} s\n{output[-2000:]}\n{errors[-2000:]}") from None
    return process.returncode, output, errors


def wait_until(condition, process):
    """Until it holds; fails where the run ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "ended early: " + "".join(process.communicate())[-3000:]
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def trains(folder, steps=2):
    """Whether the run in the folder has logged training steps."""

    def condition():
        file = folder / "metrics.csv"
        return file.exists() and file.read_text().count("\n") > steps + 1 and "train/loss/total" in file.read_text()

    return condition


def children(pid):
    """Process ids of a process's children."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def error_lines(errors):
    return [line for line in errors.splitlines() if line.startswith("error: ")]
