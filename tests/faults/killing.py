"""Small runs that are killed: in children forked from this process, and of the real command."""

import mmap
import os
import signal
import subprocess
import sys
import time

import lightning.pytorch as pl
from hydra import compose

from tests.faults.children import begin, checked
from tests.faults.processes import ROOT
from tests.fuzzing.running import attempt, entry
from tracer_lightning.commands import train as run_module

WATCHED = (
    "trainer.limit_test_batches=1",
    "callbacks.checkpoint.every_n_train_steps=1",
    "callbacks.progress.refresh_rate=0",
    "+callbacks.phases._target_=tests.faults.killing.Phases",
)
SMALL = (
    *("backbone.vision_cfg.layers=1", "backbone.vision_cfg.width=32", "backbone.text_cfg.layers=1"),
    *("trainer.max_epochs=3", "trainer.log_every_n_steps=1", "scheduler.warmup_steps=1", "data.batch_size=256"),
    *("callbacks.teacher_statistics.every_n_steps=2", "callbacks.teacher_statistics.distances=true"),
    *WATCHED,
)
PRETRAINING = ["backbone.text_cfg.layers=1", "trainer.max_steps=4", "scheduler.warmup_steps=1", "data.batch_size=256"]
PRETRAINING += ["min_accuracy=0.0", *WATCHED]
PHASES = ("step", "checkpoint", "evaluation", "between epochs", "prerequisite")
LENGTHS = {"step": 0.3, "checkpoint": 0.15, "evaluation": 1.0, "between epochs": 0.02, "prerequisite": 2.0}
"""Seconds within which a kill comes once its phase has begun; about as long as the phase takes."""
BY_THE_CLOCK = "command, by the clock"


board = mmap.mmap(-1, 2)
"""Memory that a forked run shares with its parent: a byte for the phase, and one that counts the phases begun."""


class Phases(pl.Callback):
    """Write the phase that the run is in to the board."""

    def _enter(self, trainer, phase):
        is_prerequisite = "prerequisites" in trainer.default_root_dir
        board[0] = 1 + PHASES.index("prerequisite" if is_prerequisite else phase)
        board[1] = (board[1] + 1) % 256

    def on_train_batch_start(self, trainer, *_):
        """A step begins."""
        self._enter(trainer, "step")

    def on_save_checkpoint(self, trainer, *_):
        """A checkpoint is about to be written."""
        self._enter(trainer, "checkpoint")

    def on_train_epoch_end(self, trainer, *_):
        """Steps are over; a checkpoint follows."""
        self._enter(trainer, "between epochs")

    def on_validation_start(self, trainer, *_):
        """Evaluation within training."""
        self._enter(trainer, "evaluation")

    on_test_start = on_validation_start


def settings(folder, required):
    """A run in ``folder``, continued where there is something to continue."""
    (folder / "run").mkdir(parents=True, exist_ok=True)
    overrides = [f"paths.outputs={folder}", f"paths.output_dir={folder}/run", "run=run", "resume=auto", *SMALL]
    cfg = compose("train", [*overrides, *([] if required else ["prerequisite=null"])])
    if required:
        cfg.prerequisite.overrides = PRETRAINING
    return cfg


def training(folder, required):
    """A run in ``folder``, continued where there is something to continue."""
    cfg = settings(folder, required)
    return lambda: run_module.run(cfg)


def sweep(folder):
    """A sweep in ``folder``, whose jobs are continued likewise."""
    folder.mkdir(parents=True, exist_ok=True)
    overrides = ["-m", f"paths.outputs={folder}", "run=run", "resume=auto", *SMALL, "trainer.max_epochs=2", "seed=0,1"]

    def work():
        os.chdir(folder)
        outcome = attempt(entry("train.py"), [*overrides, "prerequisite=null"])
        assert outcome.verdict == "ran", outcome

    return work


def forked(work, log, target):
    """Work in a child; the phase in which it was killed, or None where it came to its end.

    Args:
        work: what a child does.
        log: a file for what it says.
        target: phase, how many of it are let pass, and seconds to wait within the next.
    """
    board[0] = board[1] = 0
    process = begin(work, log)
    seen, passed, due = 0, 0, float("inf")
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            checked(status, log)
            return None
        if target is not None and board[1] != seen:
            seen = board[1]
            if board[0] and PHASES[board[0] - 1] == target[0] and due == float("inf"):
                passed += 1
                due = time.monotonic() + target[2] if passed > target[1] else due
        if time.monotonic() >= due:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return PHASES[board[0] - 1]
        time.sleep(0.0005)


def command(folder, seconds):
    """The real command, killed after so long."""
    overrides = [f"paths.outputs={folder}", f"hydra.run.dir={folder}/run", "run=run", "resume=auto", *SMALL]
    arguments = [sys.executable, str(ROOT / "train.py"), *overrides, "prerequisite=null"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, cwd=folder)
        try:
            if process.wait(seconds):
                raise SystemExit(f"a command failed by itself: see {folder}/log.txt")
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return BY_THE_CLOCK
    return None
