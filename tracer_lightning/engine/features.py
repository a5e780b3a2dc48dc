"""Features of the training images, extracted once."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import Tensor, nn

from tracer_lightning.data import DataModule
from tracer_lightning.evaluation.features import FeaturePredictor


def training_features(trainer: pl.Trainer, model: nn.Module, data: DataModule) -> tuple[Tensor, Tensor]:
    """Image features (N, D) and labels (N,) of the labelled training images, with the transforms of evaluation.

    Every rank gets those of all ranks.
    """
    predictor = FeaturePredictor(model)
    trainer.predict(predictor, datamodule=data, return_predictions=False)
    assert predictor.images is not None
    return predictor.images.images.clone(), predictor.images.labels.clone()  # clones are no inference tensors
