"""What the statistics of teacher and student cost.

A run of TRACER on random weights and pictures with all statistics at every step, each step timed with and without them:
what they would take of the steps' time at the given interval.
"""

from __future__ import annotations

import tempfile
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger

from tracer_lightning.benchmarks.measuring import spread
from tracer_lightning.benchmarks.ours import collated, now, tracer
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.callbacks import TeacherStatistics, TeacherUpdate
from tracer_lightning.models import load_clip


class StatisticsOptions(NamedTuple):
    """What is measured."""

    model: str
    """An open_clip architecture, with random weights."""
    batch_size: int
    steps: int
    """Counted; one more comes before."""
    every: int
    """Steps from one set of statistics to the next."""
    accelerator: str
    precision: str


class TimedStatistics(TeacherStatistics):
    """Knows how long it took in each step, and the step without it; the first step is not counted."""

    def __init__(self) -> None:
        super().__init__(every_n_steps=1, distances=True)
        self.taken: list[float] = []
        self.steps: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """The step begins."""
        self._began, self._took = now(), 0.0

    def on_before_optimizer_step(self, *args: Any) -> None:
        """Distances."""
        start = now()
        super().on_before_optimizer_step(*args)
        self._took += now() - start

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Features, and the loggers."""
        start = now()
        super().on_train_batch_end(trainer, *args)
        end = now()
        if trainer.global_step > 1:
            self.taken.append(self._took + end - start)
            self.steps.append(end - self._began - self.taken[-1])


def timed_run(options: StatisticsOptions) -> TimedStatistics:
    """Train, and time."""
    torch.manual_seed(0)
    backbone, timed = load_clip(options.model), TimedStatistics()
    steps = options.steps + 1
    batches = [
        collated(batch) for batch in random_batches(backbone.spec, options.batch_size, steps, options.accelerator)
    ]
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            accelerator=options.accelerator,
            devices=1,
            precision=options.precision,  # type: ignore[arg-type]
            max_steps=steps,
            callbacks=[TeacherUpdate(), timed],
            logger=CSVLogger(folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=steps,
            limit_val_batches=0,
        )
        trainer.fit(tracer(backbone.model), torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    return timed


def measure(options: StatisticsOptions) -> dict[str, Any]:
    """Seconds of a step and of the statistics, and their share of the time of ``every`` steps, pair by pair."""
    timed = timed_run(options)
    shares = [taken / (options.every * step) for taken, step in zip(timed.taken, timed.steps, strict=True)]
    return {
        "options": options._asdict(),
        "step": spread(timed.steps),
        "statistics": spread(timed.taken),
        "share": spread(shares),
        "rounds": {"step": timed.steps, "statistics": timed.taken},
    }
