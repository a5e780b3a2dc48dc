"""The progress bar."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar

SHOWN = "train/loss/total"


class Progress(TQDMProgressBar):
    """Lightning's bar with the loss, which is read from the device when the bar is drawn.

    What is logged with ``prog_bar=True`` Lightning reads after every step, however rarely the bar is drawn.
    """

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        loss = trainer.callback_metrics.get(SHOWN)
        return {**super().get_metrics(trainer, pl_module), **({} if loss is None else {SHOWN: float(loss)})}
