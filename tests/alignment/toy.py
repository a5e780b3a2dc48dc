"""A toy of stage 1: four source clusters in 8 dimensions, and a target whose class is one of three inputs.

The other two inputs are nuisances that look just like the source, and larger than what tells the class.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tracer_lightning.functional.distortion import (
    distortion,
    joint_distribution,
    label_given_source,
    marginal_entropy,
    negative_information,
    transported_log_probabilities,
)
from tracer_lightning.functional.logistic_regression import logistic_regression
from tracer_lightning.functional.transport import wasserstein

CENTRES = 3 * torch.eye(4, 8)
NOISE = 0.3


class Outcome(NamedTuple):
    """What an embedder is worth."""

    entropy: float
    """H(Z), in nats."""
    log_loss: float
    """Log-loss of the transported predictor on training samples."""
    bound: float
    """H(Z' | Z), the bound on it."""
    transported: float
    """Accuracy of the transported predictor on other samples."""
    probe: float
    """Accuracy of a linear head on the frozen embedder on other samples."""


def noisy(points, generator):
    return points + NOISE * torch.randn(points.shape, generator=generator)


def draw(count, generator):
    labels, nuisances = (
        torch.randint(4, (count,), generator=generator),
        torch.randint(4, (2, count), generator=generator),
    )
    parts = [0.5 * CENTRES[labels], *CENTRES[nuisances, :4]]
    return noisy(torch.cat(parts, dim=1), generator), labels


def fit(samples, labels):
    """A linear head, fitted to all samples."""
    head = nn.Linear(samples.shape[1], 4).requires_grad_(False)
    weight, bias = logistic_regression(samples, labels, 4, inverse_strength=1.0, iterations=20)
    head.weight.copy_(weight)
    head.bias.copy_(bias)
    return head


def run(distance_weight, label_term, weight, seed):
    """Learn an embedder in 150 steps on ``distance_weight * W + weight * label_term``; returns its outcome."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    source_labels = torch.randint(4, (2000,), generator=generator)
    source = noisy(CENTRES[source_labels], generator)
    head = fit(source, source_labels)
    (samples, labels), (test, test_labels) = draw(1000, generator), draw(2000, generator)
    embedder = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8))
    adam = torch.optim.Adam(embedder.parameters(), lr=5e-3)
    for _ in range(150):
        rows = torch.randint(1000, (64,), generator=generator)
        points = embedder(samples[rows])
        loss = weight * label_term(head(points).softmax(dim=1), labels[rows]) if label_term else torch.zeros(())
        if distance_weight:
            chosen = torch.randint(2000, (64,), generator=generator)
            loss = loss + distance_weight * wasserstein(points, source[chosen])
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        points, test_points = embedder(samples), embedder(test)
        probabilities = head(points).softmax(dim=1)
        given = label_given_source(joint_distribution(probabilities, labels, 4))
        bound = marginal_entropy(F.one_hot(labels, 4).float()) + negative_information(probabilities, labels)
        log_loss = F.nll_loss(transported_log_probabilities(probabilities, given), labels)
        predicted = transported_log_probabilities(head(test_points).softmax(dim=1), given).argmax(dim=1)
        entropy = marginal_entropy(probabilities)
    probe = fit(points, labels)
    accuracies = ((guess == test_labels).float().mean() for guess in (predicted, probe(test_points).argmax(dim=1)))
    return Outcome(*(float(value) for value in (entropy, log_loss, bound, *accuracies)))


ALIGNED = {"fa": (1.0, None, 0.0), "fa_fld": (1.0, distortion, 5.0)}
"""Objectives with a distance, whose optimal plans take time."""
FURTHER = {"none": (0.0, distortion, 0.0), "fa_fld, 1": (1.0, distortion, 1.0), "fa_fld, 20": (1.0, distortion, 20.0)}
"""No objective, and other weights of the labels' term."""
OF_LABELS = {"fld": (0.0, distortion, 1.0), "mi": (0.0, negative_information, 1.0)}
