"""Statistics of matching probabilities, against loops in double precision."""

import math

import pytest
import torch

from tests.conftest import random_features
from tracer_lightning.functional.distance import distance
from tracer_lightning.functional.statistics import (
    matching_log_probabilities,
    mean_confidence,
    mean_divergence,
    mean_entropy,
    mean_true_pair,
    top_overlap,
)
from tracer_lightning.types import ClipFeatures


def rows(features):
    """Distributions of every image over captions, then of every caption over images."""
    scale = features.logit_scale.item()
    image, text = features.image.tolist(), features.text.tolist()
    result = []
    for first, second in ((image, text), (text, image)):
        for query in first:
            weights = [math.exp(scale * sum(a * b for a, b in zip(query, key, strict=True))) for key in second]
            result.append([weight / sum(weights) for weight in weights])
    return result


@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_naive_loops(dtype):
    student, teacher = random_features(seed=0), random_features(seed=1, scale=9.0)
    p, q = rows(teacher), rows(student)
    pairs = list(zip(p, q, strict=True))
    top = [[set(sorted(range(6), key=lambda j: -row[j])[:5]) for row in pair] for pair in pairs]
    expected = {
        "entropy": sum(-x * math.log(x) for row in p for x in row) / len(p),
        "confidence": sum(max(row) for row in p) / len(p),
        "kl": sum(x * math.log(x / y) for first, second in pairs for x, y in zip(first, second, strict=True)) / len(p),
        "true_pair": sum(row[number % 6] for number, row in enumerate(p)) / len(p),
        "agreement": sum(first.index(max(first)) == second.index(max(second)) for first, second in pairs) / len(p),
        "top5": sum(len(first & second) / 5 for first, second in top) / len(p),
    }
    t, s = (
        matching_log_probabilities(ClipFeatures(*(value.to(dtype) for value in features[:3])))
        for features in (teacher, student)
    )
    result = {"entropy": mean_entropy(t), "confidence": mean_confidence(t), "kl": mean_divergence(t, s)}
    result |= {"true_pair": mean_true_pair(t), "agreement": top_overlap(t, s, k=1), "top5": top_overlap(t, s, k=5)}
    assert 0 < expected["agreement"] < 1
    assert 0.8 < expected["top5"] < 1
    assert t.shape == (2, 6, 6)
    for name, value in expected.items():
        assert result[name].dtype == dtype
        assert float(result[name]) == pytest.approx(value, rel=1e-12 if dtype == torch.double else 1e-5), name


def test_values_known_by_hand():
    """Two images at right angles, each on its caption: p = softmax(s, 0)."""
    eye = torch.eye(2, dtype=torch.double)
    sure = matching_log_probabilities(ClipFeatures(eye, eye, torch.tensor(math.log(3.0))))
    unsure = matching_log_probabilities(ClipFeatures(eye, eye, torch.tensor(0.0)))
    assert float(mean_confidence(sure)) == pytest.approx(0.75)
    assert float(mean_entropy(unsure)) == pytest.approx(math.log(2))
    assert float(mean_divergence(sure, unsure)) == pytest.approx(math.log(2) - float(mean_entropy(sure)))
    assert float(mean_divergence(sure, sure)) == 0
    assert float(mean_true_pair(sure)) == pytest.approx(0.75)
    swapped = matching_log_probabilities(ClipFeatures(eye, eye.flip(0), torch.tensor(math.log(3.0))))
    assert float(mean_true_pair(swapped)) == pytest.approx(0.25)
    assert float(top_overlap(sure, swapped, k=1)) == 0
    assert float(top_overlap(sure, sure, k=1)) == float(top_overlap(sure, swapped, k=5)) == 1  # two are the five of two


def test_overlap_is_of_sets():
    ranks = torch.tensor([[5.0, 4, 3, 2, 1, 0, -1]])
    moved = torch.tensor([[1.0, 2, 3, 4, -9, 5, -9]])  # the same four, another fifth
    assert float(top_overlap(ranks, moved, k=5)) == pytest.approx(0.8)
    assert float(top_overlap(ranks, moved, k=1)) == 0


def test_rounding_decides_between_no_equals():
    """Four samples have one caption, of which each model finds another first."""
    teacher = torch.tensor([[0.0, 1, 1, 1, 1, -1]])
    student = teacher + 1e-6 * torch.tensor([[0.0, 0, 1, 3, 2, 0]])
    for first, second in ((teacher, student), (student, teacher)):
        assert [float(top_overlap(first, second, k)) for k in (1, 2, 3)] == [1, 1, 1]


def test_distance_by_hand_and_in_other_types():
    first = [torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor(3.0)]
    second = [torch.zeros(2, 2), torch.tensor(1.0)]
    assert float(distance(first, second)) == 3
    assert float(distance([x.bfloat16() for x in first], second)) == 3
    half = [x.bfloat16() for x in first]
    assert distance(half, half).dtype == torch.float
    assert distance([x.double() for x in first], second).dtype == torch.double
    assert first[0].tolist() == [[1, 2], [0, 0]]


def test_distance_of_many_small_changes():
    """A running sum in single precision stands still before a million of these are added."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(3_000_000, generator=generator) * 1e-3 + 1e-3
    exact = float(first.double().norm())
    assert float(distance([first], [torch.zeros_like(first)])) == pytest.approx(exact, rel=1e-6)


def test_half_precision_is_widened_and_certainty_is_finite():
    features = ClipFeatures(*(value.detach().bfloat16() for value in random_features()[:3]))
    assert matching_log_probabilities(features).dtype == torch.float32
    certain = matching_log_probabilities(features._replace(logit_scale=torch.tensor(1e4)))
    assert float(mean_entropy(certain)) == pytest.approx(0, abs=1e-5)
    assert float(mean_divergence(certain, certain)) == 0
