"""Progress bar, or progress lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

from tracer_lightning.reporting.console import PlainConsole

LOSS = "train/loss/total"


class Progress(TQDMProgressBar):
    """Lightning's progress bar with the loss, which is read from the device only when the bar is drawn.

    Metrics logged with ``prog_bar=True`` would be read after every step. Where standard output is a file or a pipe,
    progress is printed as a line at the end of every epoch and every ``seconds`` within an epoch.

    Args:
        refresh_rate: number of batches between updates of the bar; 0 for neither bar nor lines.
        seconds: minimum seconds between lines within an epoch.
    """

    def __init__(self, refresh_rate: int = 1, seconds: float = 60.0) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self.seconds = seconds
        self._last_line: float | None = None
        """Time of the last line; None where a bar or nothing is shown."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Choose between bar and lines."""
        super().setup(trainer, pl_module, stage)
        if self.is_enabled and not sys.stdout.isatty() and "ipykernel" not in sys.modules:
            self.disable()
            self._last_line = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar, or print a line."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._last_line is None:
            return
        batch_count, now = batch_idx + 1, time.monotonic()
        if batch_count == trainer.num_training_batches or now - self._last_line > self.seconds:
            self._last_line = now
            loss = trainer.callback_metrics.get(LOSS)
            loss_text = "" if loss is None else f", loss {float(loss):.4g}"
            total = f" of {trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
            batches = f"batch {batch_count} of {trainer.num_training_batches}"
            PlainConsole().say(f"epoch {trainer.current_epoch + 1}{total}, {batches}{loss_text}")

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the metrics beside the bar."""
        loss = trainer.callback_metrics.get(LOSS)
        return {**super().get_metrics(trainer, pl_module), **({} if loss is None else {LOSS: float(loss)})}
