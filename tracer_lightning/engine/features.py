"""Features of the training images, extracted once."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import Tensor

from tracer_lightning.data import ClipDataModule
from tracer_lightning.evaluation.features import FeaturePredictor
from tracer_lightning.models import ClipModel


def training_features(trainer: pl.Trainer, model: ClipModel, data: ClipDataModule) -> tuple[Tensor, Tensor]:
    """Image features (N, D) and labels (N,) of the labelled training images, with the transforms of evaluation.

    Every rank gets those of all ranks.
    """
    predictor = FeaturePredictor(model)
    trainer.predict(predictor, datamodule=data, return_predictions=False)
    assert predictor.images is not None
    return predictor.images.images.clone(), predictor.images.labels.clone()  # clones are no inference tensors
