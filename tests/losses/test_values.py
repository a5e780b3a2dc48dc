"""Losses of values in place of classes: by hand, by naive loops, by numerical gradients."""

import math

import pytest
import torch

from tests.conftest import random_features
from tracer_lightning.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    FocalLoss,
    RelativeError,
    SquaredError,
)
from tracer_lightning.types import LossInputs

NAN = math.nan


def inputs_of(outputs, targets=None, labels=None):
    features = random_features()._replace(logits=outputs, targets=targets, labels=labels)
    return LossInputs(features)


def rows(*values):
    return torch.tensor(values, dtype=torch.double)


def test_squared_errors_are_of_what_is_known():
    outputs, targets = rows([1, 2], [3, 4]), rows([0, 2], [NAN, 1])
    assert SquaredError()(inputs_of(outputs, targets)).item() == pytest.approx((1 + 0 + 9) / 3)
    assert SquaredError()(inputs_of(outputs, torch.full_like(outputs, NAN))).item() == 0


def test_relative_errors_are_of_each_sample():
    outputs, targets = rows([[3, 4]], [[1, 7]]), rows([[0, 5]], [[2, NAN]])
    expected = (math.sqrt(9 + 1) / 5 + 1 / 2) / 2
    assert RelativeError()(inputs_of(outputs, targets)).item() == pytest.approx(expected)


def test_maps_that_are_zero_everywhere_do_not_count_in_relative_errors():
    outputs, targets = rows([1, 2], [3, 0]).requires_grad_(), rows([0, 0], [4, 0])
    loss = RelativeError()(inputs_of(outputs, targets))
    loss.backward()
    assert loss.item() == pytest.approx(0.25 / 2)
    assert outputs.grad.tolist() == [[0, 0], [-0.125, 0]]


@pytest.mark.parametrize(("weight", "gamma"), [(1.0, 0.0), (4.0, 0.0), (10.0, 2.0)])
def test_binary_cross_entropy_is_weighted_and_focused(weight, gamma):
    outputs, targets = rows([1.5, -0.3], [-2, 0.7]), rows([1, 0], [NAN, 1])
    expected = 0.0
    for logit, label in ((1.5, 1), (-0.3, 0), (0.7, 1)):
        p = 1 / (1 + math.exp(-logit if label else logit))
        expected -= (weight if label else 1) * (1 - p) ** gamma * math.log(p) / 3
    loss = BinaryCrossEntropy(weight, gamma)(inputs_of(outputs, targets))
    assert loss.item() == pytest.approx(expected)


def test_the_focal_loss_counts_what_is_probable_less():
    outputs, labels = rows([1, 0, -1], [0, 2, 0], [5, 5, 5]), torch.tensor([0, 0, -1])
    expected = sum(-((1 - p) ** 2) * math.log(p) / 2 for p in outputs[:2].softmax(dim=1)[:, 0].tolist())
    assert FocalLoss(2.0)(inputs_of(outputs, labels=labels)).item() == pytest.approx(expected)
    plain, focal = (loss(inputs_of(outputs, labels=labels)) for loss in (CrossEntropy(), FocalLoss(0.0)))
    torch.testing.assert_close(plain, focal)


@pytest.mark.parametrize(
    "loss", [SquaredError(), RelativeError(), BinaryCrossEntropy(3.0, 1.5), BinaryCrossEntropy()], ids=repr
)
def test_gradients_are_those_of_the_loss(loss):
    outputs = torch.randn(3, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = rows([1, 0, 0, 1], [NAN, 1, 1, 0], [NAN] * 4)
    assert torch.autograd.gradcheck(lambda values: loss(inputs_of(values, targets)), outputs)


def test_a_perfect_prediction_has_a_finite_gradient():
    outputs = rows([1, 2]).requires_grad_()
    RelativeError()(inputs_of(outputs, outputs.detach())).backward()
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positive_weight": 0.0}, "positive_weight must be a finite number > 0"),
        ({"gamma": -1.0}, "gamma must be a finite number >= 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BinaryCrossEntropy(**arguments)
    with pytest.raises(ValueError, match="need a head, and values"):
        SquaredError()(inputs_of(None))
