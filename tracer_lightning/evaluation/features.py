"""Extracting image features."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from tracer_lightning.functional.distributed import gather
from tracer_lightning.types import Batch


class FeatureModule(pl.LightningModule):
    """Image features and labels of batches: ``trainer.predict(FeatureModule(model), datamodule=data)``.

    Args:
        model: with ``encode_image``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Features (B, D) and labels (B,), -1 for padding, of the global batch, on the CPU of every rank."""
        features = gather(self.model.encode_image(batch.images).detach())
        return features.cpu(), gather(batch.labels).cpu()
