"""Statistics of matching probabilities, against loops in double precision."""

import math

import pytest
import torch

from tests.conftest import random_features
from tracer_lightning.functional.statistics import (
    matching_log_probabilities,
    mean_confidence,
    mean_divergence,
    mean_entropy,
)
from tracer_lightning.types import ClipFeatures


def rows(features):
    """Distributions of every image over captions, then of every caption over images."""
    scale = features.logit_scale.item()
    image, text = features.image.tolist(), features.text.tolist()
    found = []
    for one, other in ((image, text), (text, image)):
        for query in one:
            weights = [math.exp(scale * sum(a * b for a, b in zip(query, key, strict=True))) for key in other]
            found.append([weight / sum(weights) for weight in weights])
    return found


@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_naive_loops(dtype):
    student, teacher = random_features(seed=0), random_features(seed=1, scale=9.0)
    p, q = rows(teacher), rows(student)
    expected = {
        "entropy": sum(-x * math.log(x) for row in p for x in row) / len(p),
        "confidence": sum(max(row) for row in p) / len(p),
        "kl": sum(x * math.log(x / y) for one, other in zip(p, q, strict=True) for x, y in zip(one, other, strict=True))
        / len(p),
    }
    t, s = (
        matching_log_probabilities(ClipFeatures(*(value.to(dtype) for value in features)))
        for features in (teacher, student)
    )
    found = {"entropy": mean_entropy(t), "confidence": mean_confidence(t), "kl": mean_divergence(t, s)}
    assert t.shape == (2, 6, 6)
    for name, value in expected.items():
        assert found[name].dtype == dtype
        assert float(found[name]) == pytest.approx(value, rel=1e-12 if dtype == torch.double else 1e-5), name


def test_values_known_by_hand():
    """Two images at right angles, each on its caption: p = softmax(s, 0)."""
    eye = torch.eye(2, dtype=torch.double)
    sure = matching_log_probabilities(ClipFeatures(eye, eye, torch.tensor(math.log(3.0))))
    unsure = matching_log_probabilities(ClipFeatures(eye, eye, torch.tensor(0.0)))
    assert float(mean_confidence(sure)) == pytest.approx(0.75)
    assert float(mean_entropy(unsure)) == pytest.approx(math.log(2))
    assert float(mean_divergence(sure, unsure)) == pytest.approx(math.log(2) - float(mean_entropy(sure)))
    assert float(mean_divergence(sure, sure)) == 0


def test_half_precision_is_widened_and_certainty_is_finite():
    features = ClipFeatures(*(value.detach().bfloat16() for value in random_features()))
    assert matching_log_probabilities(features).dtype == torch.float32
    certain = matching_log_probabilities(features._replace(logit_scale=torch.tensor(1e4)))
    assert float(mean_entropy(certain)) == pytest.approx(0, abs=1e-5)
    assert float(mean_divergence(certain, certain)) == 0
