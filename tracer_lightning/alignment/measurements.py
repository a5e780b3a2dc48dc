"""Measurements of an embedder: its distance to the source, and what the source predictor tells of the labels."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.alignment.distances import feature_distance
from tracer_lightning.alignment.encoding import TrainingSamples, encode_all
from tracer_lightning.alignment.recalibration import head_lipschitz
from tracer_lightning.alignment.source import Source
from tracer_lightning.functional.distortion import (
    distortion,
    entropy,
    joint_distribution,
    label_given_source,
    marginal_entropy,
    transported_log_probabilities,
)
from tracer_lightning.functional.transport import wasserstein_1
from tracer_lightning.models import ClipModel

MOST_TRANSPORTED = 500
"""Greatest number of samples of each side between which the distance is measured, which takes cubic time."""
COLLAPSED = 0.5
"""H(Z) below this share of what it could be, min(log C, log S), counts as a collapse."""


class Measurements(NamedTuple):
    """Measurements of an embedder on training samples; entropies and losses are in nats."""

    distance: float
    """Squared Wasserstein distance to the source, in units of the mean squared distance of two source samples."""
    distortion: float
    """H(Z | Z'), the feature-label distortion."""
    entropy: float
    """H(Z), the entropy of the mean source prediction; 0 where all samples are taken for one source class."""
    bound: float
    """H(Z') - H(Z) + H(Z | Z'), which the log-loss of the transported predictor can't exceed."""
    log_loss: float
    """Log-loss of the transported predictor."""
    accuracy: float
    """Accuracy of the transported predictor, in [0, 1]."""
    shift: float
    """Greatest difference |P_t(z) - P_s(z)| of the mean predictions of target and source samples."""
    shift_bound: float
    """L W1, which it can't exceed: the Lipschitz constant of the source predictor, and the distance of the features."""

    def has_collapsed(self, classes: int, source_classes: int) -> bool:
        """Whether most samples are taken for few source classes.

        Args:
            classes: number of target classes.
            source_classes: number of source classes.
        """
        return self.entropy < COLLAPSED * math.log(min(classes, source_classes))


@torch.no_grad()
def measure(model: ClipModel, samples: TrainingSamples, source: Source, classes: int) -> tuple[Measurements, Tensor]:
    """Measure an embedder.

    Args:
        model: model with the embedder of the target modality.
        samples: target samples.
        source: the source modality.
        classes: number C of target classes.

    Returns:
        The measurements, and P(Z' | Z), (C, S), of which the transported predictor is made.
    """
    encoded, labels = encode_all(model, samples, source.space)
    some = slice(MOST_TRANSPORTED)
    distance = feature_distance(encoded.points[some], labels[some], source.points[some], source.labels[some])
    probabilities = source.predict(encoded.features).double()
    of_labels = measure_labels(probabilities, labels, classes)
    shift = prediction_shift(source, encoded.features[some], source.features[some])
    measurements = Measurements(*(float(value) for value in (distance / source.unit, *of_labels[:-1], *shift)))
    return measurements, of_labels.transition.to(encoded.features.dtype)


def prediction_shift(source: Source, features: Tensor, source_features: Tensor) -> tuple[Tensor, Tensor]:
    """Greatest shift () of the mean prediction between target and source features, (N, D) and (M, D), and its bound ().

    The bound is that of Kantorovich and Rubinstein: the mean of a function of Lipschitz constant L differs by at most L
    times the 1-Wasserstein distance.
    """
    means = [source.predict(samples).double().mean(dim=0) for samples in (features, source_features)]
    constant = head_lipschitz(source.head.weight)
    return (means[0] - means[1]).abs().max(), constant * wasserstein_1(features.double(), source_features.double())


class LabelMeasurements(NamedTuple):
    """What predictions tell of labels, as in :class:`Measurements`, and P(Z' | Z), (C, S)."""

    distortion: Tensor
    entropy: Tensor
    bound: Tensor
    log_loss: Tensor
    accuracy: Tensor
    transition: Tensor


def measure_labels(probabilities: Tensor, labels: Tensor, classes: int) -> LabelMeasurements:
    """Measurements of source predictions and target labels.

    Args:
        probabilities: (N, S) predictions.
        labels: (N,) labels.
        classes: number C of target classes.
    """
    joint = joint_distribution(probabilities, labels, classes)
    transition = label_given_source(joint)
    log_probabilities = transported_log_probabilities(probabilities, transition)
    conditional, marginal = distortion(probabilities, labels), marginal_entropy(probabilities)
    return LabelMeasurements(
        distortion=conditional,
        entropy=marginal,
        bound=entropy(joint.sum(dim=1)) - marginal + conditional,
        log_loss=F.nll_loss(log_probabilities, labels),
        accuracy=(log_probabilities.argmax(dim=1) == labels).double().mean(),
        transition=transition,
    )
