"""Benchmark of the statistics of teacher and student.

A TRACER run with random weights and images computes all statistics at every step. Timing each step with and without
them gives their share of the time at a given interval.
"""

from __future__ import annotations

import tempfile
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import CSVLogger

from tracer_lightning.benchmarks.measuring import spread
from tracer_lightning.benchmarks.ours import collate, now, tracer
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.callbacks import TeacherStatistics, TeacherUpdate
from tracer_lightning.models import load_clip


class StatisticsOptions(NamedTuple):
    """Options of the benchmark."""

    model: str
    """Name of an open_clip architecture, which gets random weights."""
    batch_size: int
    steps: int
    """Number of measured steps, after one warm-up step."""
    every: int
    """Interval of the statistics in steps."""
    accelerator: str
    precision: str


class TimedStatistics(TeacherStatistics):
    """Statistics that record their own time and that of the rest of each step, except the first one."""

    def __init__(self) -> None:
        super().__init__(every_n_steps=1, distances=True)
        self.seconds: list[float] = []
        self.step_seconds: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Record the start of a step."""
        self._step_start, self._step_cost = now(), 0.0

    def on_before_optimizer_step(self, *args: Any) -> None:
        """Compute and time the distances."""
        start = now()
        super().on_before_optimizer_step(*args)
        self._step_cost += now() - start

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Compute, log and time the statistics of the features."""
        start = now()
        super().on_train_batch_end(trainer, *args)
        end = now()
        if trainer.global_step > 1:
            self.seconds.append(self._step_cost + end - start)
            self.step_seconds.append(end - self._step_start - self.seconds[-1])


def timed_run(options: StatisticsOptions) -> TimedStatistics:
    """Train with timed statistics."""
    torch.manual_seed(0)
    backbone, timed = load_clip(options.model), TimedStatistics()
    steps = options.steps + 1
    batches = [
        collate(batch) for batch in random_batches(backbone.spec, options.batch_size, steps, options.accelerator)
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
    """Measure the seconds of a step and of the statistics, and their share of the time of ``every`` steps."""
    timed = timed_run(options)
    shares = [seconds / (options.every * step) for seconds, step in zip(timed.seconds, timed.step_seconds, strict=True)]
    return {
        "options": options._asdict(),
        "step": spread(timed.step_seconds),
        "statistics": spread(timed.seconds),
        "share": spread(shares),
        "rounds": {"step": timed.step_seconds, "statistics": timed.seconds},
    }
