import math

import pytest
import torch

from tests.conftest import random_features
from tracer_lightning.losses import LDReg
from tracer_lightning.losses.ldreg import local_dimensionality
from tracer_lightning.types import ClipFeatures, LossInputs


def inputs(image, text=None):
    return LossInputs(ClipFeatures(image, image if text is None else text, torch.tensor(1.0)), None)


def naive(features, neighbours):
    """Compute dimensionalities by sorted lists of distances."""
    points = features.tolist()
    result = []
    for i, point in enumerate(points):
        distances = sorted(
            math.sqrt(max(2 - 2 * sum(a * b for a, b in zip(point, neighbour, strict=True)), 1e-8))
            for j, neighbour in enumerate(points)
            if j != i
        )
        k = min(neighbours, len(points) - 2)
        mean = sum(distances[:k]) / k
        result.append(mean / (distances[k] - mean))
    return result


def test_three_points_by_hand():
    """Right angles and a half turn: chords sqrt(2) and 2."""
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).double()
    near, far = math.sqrt(2), 2.0
    expected = [near / (far - near), near / 1e-6, near / (far - near)]
    assert local_dimensionality(points, 5).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("neighbours", [1, 3, 100])
def test_naive_lists_and_gradients(neighbours):
    features = random_features()
    result = local_dimensionality(features.image, neighbours)
    assert result.tolist() == pytest.approx(naive(features.image, neighbours), rel=1e-9)
    both = LDReg(neighbours)(None, inputs(features.image, features.text)).item()
    parts = LDReg(neighbours, text=False)(None, inputs(features.image)).item()
    parts += LDReg(neighbours, image=False)(None, inputs(features.image, features.text)).item()
    assert both == pytest.approx(parts)
    assert both == pytest.approx(
        sum(-sum(map(math.log, naive(x, neighbours))) / len(x) for x in (features.image, features.text))
    )


@pytest.mark.parametrize("neighbours", [1, 3, 100])
def test_gradients_are_those_of_each_feature_among_fixed_others(neighbours):
    """The reference sorts distances to a copy, in which the feature itself is the nearest."""
    features = torch.randn(6, 4, dtype=torch.double, generator=torch.Generator().manual_seed(1), requires_grad=True)
    k = min(neighbours, 4)
    unit = torch.nn.functional.normalize(features, dim=-1)
    distances = (unit[:, None] - unit.detach()[None]).square().sum(-1).clamp_min(1e-30).sqrt().sort(dim=1).values
    mean = distances[:, 1 : k + 1].mean(dim=1)
    (expected,) = torch.autograd.grad(-(mean / (distances[:, k + 1] - mean)).log().mean(), features)
    (result,) = torch.autograd.grad(
        LDReg(neighbours, text=False)(None, inputs(torch.nn.functional.normalize(features))), features
    )
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)


def test_it_grows_with_the_dimension_of_the_data():
    generator = torch.Generator().manual_seed(0)
    flat = torch.zeros(512, 32).double()
    flat[:, :3] = torch.randn(512, 3, generator=generator).double()
    full = torch.randn(512, 32, generator=generator).double()
    low, high = (
        local_dimensionality(torch.nn.functional.normalize(x, dim=-1), 20).log().mean().exp().item()
        for x in (flat, full)
    )
    assert 1.5 < low < 3.0  # a sphere in three dimensions has two
    assert high > 3 * low


def test_equal_captions_have_finite_gradients():
    text = torch.nn.functional.normalize(torch.ones(8, 4), dim=-1).requires_grad_()
    loss = LDReg(3)(None, inputs(text))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(text.grad).all()


def test_mistakes():
    with pytest.raises(ValueError, match="at least 3 samples in a global batch, found 2"):
        local_dimensionality(torch.eye(2), 1)
    with pytest.raises(ValueError, match="image or text"):
        LDReg(5, image=False, text=False)
    with pytest.raises(ValueError, match="neighbours >= 1, found 0"):
        LDReg(0)


def test_texts_are_needed_only_where_a_term_reads_them():
    assert LDReg(5).reads == {"image", "text"}
    assert LDReg(5, text=False).reads == {"image"}
