"""The source modality: points that target samples are compared with, and the predictor of its classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tracer_lightning.alignment.encoding import Space, TrainingSamples, encode_all
from tracer_lightning.alignment.recalibration import Recalibration, Slopes, recalibrate
from tracer_lightning.data import ClipDataModule
from tracer_lightning.models import ClipModel

FEWEST = 2
"""Fewest samples and classes of a source."""
ROUNDING = 1e-12
"""Mean squared distance of samples, relative to their mean square, up to which they differ by rounding only."""


class Source(NamedTuple):
    """What stage 1 must know of the source modality."""

    points: Tensor
    """(M, D) source samples where distances are measured."""
    features: Tensor
    """(M, D) their normalised features."""
    labels: Tensor
    """(M,) their classes."""
    head: nn.Linear
    """Source predictor: logits of S source classes from normalised features."""
    unit: Tensor
    """() mean squared distance of two source samples, in which distances are stated."""
    space: Space
    """Where distances are measured."""
    slopes: tuple[Slopes, Slopes] | None = None
    """The predictor before and after its recalibration; None without one."""

    def predict(self, features: Tensor) -> Tensor:
        """p_s(z | u), (B, S), of features (B, D)."""
        probabilities: Tensor = self.head(features).softmax(dim=-1)
        return probabilities


def read_source(
    model: ClipModel,
    data: ClipDataModule,
    make_head: Callable[..., Any],
    space: Space,
    samples: int,
    seed: int,
    device: torch.device,
    recalibration: Recalibration | None = None,
    batch: int = 128,
) -> Source:
    """Encode samples of the source modality, and make its predictor.

    Args:
        model: model with the embedder of the source modality, on the device.
        data: data module of the source modality, of which training samples are read.
        make_head: makes the predictor of the source classes, as a function of :mod:`tracer_lightning.models.heads`.
        space: where distances are measured.
        samples: greatest number of samples; those of more are a random choice.
        seed: seed of the choice.
        device: device of the model.
        recalibration: how the predictor is recalibrated; None for not at all.
        batch: greatest number of samples in a step of the recalibration.

    Raises:
        ValueError: there are too few labelled samples, or all are the same point, or there is no predictor, or its
            recalibration has ruined it.
    """
    chosen = TrainingSamples(data, samples, seed, device)
    if len(chosen) < FEWEST:
        raise ValueError(f"source must have {FEWEST} or more labelled training samples, found {len(chosen)}")
    encoded, labels = encode_all(model, chosen, space)
    unit = 2 * encoded.points.var(dim=0, unbiased=False).sum()
    if unit <= ROUNDING * encoded.points.square().sum(dim=1).mean():
        raise ValueError(
            f"source must have samples that differ where distances are measured, in the model's {space}, but all "
            f"{len(labels)} are the same point; choose other data, or a model that tells them apart"
        )
    head = make_head(model, prompts=data.prompts().to(device), features=lambda: (encoded.features, labels))
    if not isinstance(head, nn.Linear) or head.out_features < FEWEST:
        raise ValueError("source_head must make a predictor of two or more source classes; choose another")
    slopes = None
    if recalibration is not None:
        slopes = recalibrate(model, head, chosen, recalibration, batch, seed)
    return Source(encoded.points, encoded.features, labels, head.requires_grad_(False), unit, space, slopes)
