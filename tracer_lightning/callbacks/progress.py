"""The progress bar, and lines in its place where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

from tracer_lightning.reporting.console import PlainConsole

SHOWN = "train/loss/total"


class Progress(TQDMProgressBar):
    """Lightning's bar with the loss, which is read from the device when the bar is drawn.

    What is logged with ``prog_bar=True`` Lightning reads after every step, however rarely the bar is drawn. Where
    standard output is a file or a pipe, a line says at the end of every epoch, and after every minute, how far training
    has come.

    Args:
        refresh_rate: batches between drawings; 0 for neither bar nor lines.
        seconds: between lines within an epoch.
    """

    def __init__(self, refresh_rate: int = 1, seconds: float = 60.0) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.seconds = seconds
        self._said: float | None = None
        """When the last line was written; None where there is a bar, or nothing is to be shown."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose between bar and lines."""
        super().setup(trainer, pl_module, stage)
        if self.is_enabled and not sys.stdout.isatty() and "ipykernel" not in sys.modules:
            self.disable()
            self._said = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw, or write a line."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._said is None:
            return
        done, now = batch_idx + 1, time.monotonic()
        if done == trainer.num_training_batches or now - self._said > self.seconds:
            self._said = now
            loss = trainer.callback_metrics.get(SHOWN)
            told = "" if loss is None else f", loss {float(loss):.4g}"
            of = f" of {trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
            batches = f"batch {done} of {trainer.num_training_batches}"
            PlainConsole().say(f"epoch {trainer.current_epoch + 1}{of}, {batches}{told}")

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        loss = trainer.callback_metrics.get(SHOWN)
        return {**super().get_metrics(trainer, pl_module), **({} if loss is None else {SHOWN: float(loss)})}
