"""Extracting image features."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
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
        features = _gather_uneven(self.model.encode_image(batch.images).detach())
        return features.cpu(), _gather_uneven(batch.labels).cpu()


def _gather_uneven(tensor: Tensor) -> Tensor:
    """Concatenate a tensor over ranks, of which each may have another number of rows: streams end where they end."""
    sizes = gather(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    longest = max(sizes)
    filled = torch.cat([tensor, tensor.new_zeros(longest - len(tensor), *tensor.shape[1:])])
    parts = gather(filled).split(longest)  # type: ignore[no-untyped-call]
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
