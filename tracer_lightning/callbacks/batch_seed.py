"""Seeds of the random numbers that a model draws in training, such as those of dropout."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch


class BatchSeed(pl.Callback):
    """Seed torch before each training batch with the run's seed, the epoch, the batch and the rank.

    What a model draws for a batch then does not depend on earlier batches, so that a resumed run draws the same numbers
    as an uninterrupted one. Ranks draw different numbers.

    Args:
        seed: seed of the run, >= 0.
    """

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        self.seed = seed

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Seed torch on all devices, without waiting for them."""
        sequence = np.random.SeedSequence((self.seed, trainer.current_epoch, batch_idx, trainer.global_rank))
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
