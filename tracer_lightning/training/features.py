"""Features of the training pictures, extracted once."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from tracer_lightning.data import ClipDataModule
from tracer_lightning.evaluation.features import FeaturePredictor
from tracer_lightning.models import ClipModel


def training_features(trainer: pl.Trainer, model: ClipModel, data: ClipDataModule) -> tuple[Tensor, Tensor]:
    """Image features (N, D) and labels (N,) of the labelled training pictures, prepared as in evaluation.

    All ranks get all of them.
    """
    batches: Any = trainer.predict(FeaturePredictor(model), datamodule=data)
    features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return features[labels >= 0], labels[labels >= 0]
