"""Stage 1: the embedder alone learns."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.conftest import tiny_backbone
from tests.data.arrays.helpers import HELD_OUT, array_data, labelled, write_npz
from tests.training_helpers import make_data
from tracer_lightning.alignment import (
    Objective,
    TransportedPredictor,
    align,
    dataset_distance,
    feature_distance,
    read_source,
)
from tracer_lightning.alignment.encoding import encode
from tracer_lightning.alignment.recalibration import Slopes
from tracer_lightning.alignment.saved import read_alignment, write_alignment
from tracer_lightning.alignment.target_classes import target_classes
from tracer_lightning.functional.distortion import distortion, negative_information
from tracer_lightning.models.heads import linear_probe, no_head, zero_shot_linear
from tracer_lightning.models.open_clip.embedders import POSITIONS, conv1d, embedder_parameters
from tracer_lightning.types import TargetSpec

CPU = torch.device("cpu")
PROBE = partial(linear_probe, inverse_strength=1.0, iterations=50)
OBJECTIVES = {
    "fa": Objective(feature_distance, None, 1.0),
    "orca": Objective(dataset_distance, None, 1.0),
    "fld": Objective(None, distortion, 1.0),
    "fa_fld": Objective(feature_distance, distortion, 5.0),
    "fa_mi": Objective(feature_distance, negative_information, 5.0),
}


class Problem(NamedTuple):
    """A model with an embedder, target samples, and the source."""

    model: object
    data: object
    source: object


@pytest.fixture(scope="module")
def digits():
    return make_data()


@pytest.fixture
def target(tmp_path):
    """Three classes that differ in the mean of the first channel."""
    samples, labels = labelled(48, 0)
    samples[:, 0] += 20 * labels[:, None]
    return array_data(write_npz(tmp_path / "mine.npz", train_x=samples, train_y=labels), held_out=HELD_OUT)


def problem(digits, target, space="body", make_head=PROBE, samples=60):
    torch.manual_seed(0)
    model = tiny_backbone().model
    source = read_source(model, digits, make_head, space, samples, 0, CPU)
    conv1d(model, target.sample_shape)
    return Problem(model, target, source)


def learn(prepared, objective, steps=30, samples=20, lr=2e-2, seed=0):
    return align(
        *prepared, OBJECTIVES[objective] if isinstance(objective, str) else objective, steps, samples, lr, seed, 4
    )


@pytest.mark.parametrize(
    "objective", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("orca", "fld"))) for name in OBJECTIVES]
)
def test_the_embedder_alone_learns_what_it_is_told(digits, target, objective):
    prepared = problem(digits, target)
    before = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    outcome = learn(prepared, objective)
    after, trained = prepared.model.state_dict(), embedder_parameters(prepared.model)
    assert all(torch.equal(after[name], before[name]) == (name not in trained) for name in before)
    assert torch.equal(after[POSITIONS][0], before[POSITIONS][0])
    assert all(parameter.grad is None for parameter in prepared.model.parameters())
    first, last = outcome.before, outcome.after
    lowered = {"fa": "distance", "orca": "distance", "fld": "distortion", "fa_fld": "distortion", "fa_mi": "bound"}
    assert getattr(last, lowered[objective]) < 0.9 * getattr(first, lowered[objective])
    for measured in (first, last):
        assert measured.log_loss <= measured.bound + 1e-6
        assert 0 < measured.shift <= measured.shift_bound
        assert measured.bound == pytest.approx(math.log(3) - measured.entropy + measured.distortion, abs=1e-6)
    assert [step for step, *_ in outcome.steps] == list(range(1, 31))


def test_information_survives_where_distortion_collapses(digits, target):
    collapsed, kept = (learn(problem(digits, target), term).after for term in ("fa_fld", "fa_mi"))
    assert collapsed.has_collapsed(3, 10)
    assert not kept.has_collapsed(3, 10)
    assert kept.accuracy > collapsed.accuracy


def test_the_same_seed_gives_the_same_embedder(digits, target):
    models = [problem(digits, target) for _ in range(3)]
    outcomes = [learn(prepared, "fa_mi", steps=5, seed=seed) for prepared, seed in zip(models, (0, 0, 1), strict=True)]
    first, second, other = (embedder_parameters(prepared.model) for prepared in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first[POSITIONS], other[POSITIONS])
    assert outcomes[0].steps == outcomes[1].steps


def test_without_an_objective_nothing_is_learned(digits, target):
    prepared = problem(digits, target)
    before = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    outcome = learn(prepared, Objective(None, None, 1.0))
    assert outcome.before == outcome.after
    assert outcome.steps == []
    assert all(torch.equal(value, before[name]) for name, value in prepared.model.state_dict().items())


def test_a_sequence_has_the_distance_before_the_labels(digits, target):
    objective = Objective(feature_distance, distortion, 1.0, "sequential")
    sequence = learn(problem(digits, target), objective, steps=8).steps
    assert [math.isnan(step.distance) for step in sequence] == [False] * 6 + [True] * 2
    assert [math.isnan(step.labels) for step in sequence] == [True] * 6 + [False] * 2
    for step in sequence:
        assert step.source_distance == pytest.approx(step.distance, nan_ok=True) or math.isnan(step.distance)
        assert step.log_loss <= step.bound + 1e-6
    with pytest.raises(ValueError, match="schedule must be 'joint' for an objective of one term"):
        Objective(feature_distance, None, 1.0, "sequential")


def test_distances_may_be_those_of_the_mean_tokens(digits, target):
    prepared = problem(digits, target, space="tokens")
    assert prepared.source.points.shape == (60, 32)
    visual, samples = prepared.model.model.visual, torch.randn(4, *target.sample_shape)
    tokens = visual.conv1(samples).transpose(1, 2) + visual.positional_embedding[1:]
    encoded = encode(prepared.model, samples, "tokens")
    torch.testing.assert_close(encoded.points, visual.ln_pre(tokens).mean(dim=1))
    assert torch.equal(encoded.features, encode(prepared.model, samples, "body").features)
    outcome = learn(prepared, "fa")
    assert outcome.after.distance < outcome.before.distance


def test_the_source_predictor_is_that_of_the_head(digits, target):
    probed, zero_shot = (
        problem(digits, target, make_head=head, samples=200).source for head in (PROBE, zero_shot_linear)
    )
    accuracy, chance = (
        (source.predict(source.points).argmax(dim=1) == source.labels).float().mean() for source in (probed, zero_shot)
    )
    assert accuracy > 0.5 > chance
    assert not probed.head.weight.requires_grad


def test_a_source_without_a_predictor_or_samples_is_refused(digits, target):
    with pytest.raises(ValueError, match="source_head must make a predictor"):
        problem(digits, target, make_head=no_head)
    with pytest.raises(ValueError, match="source must have 2 or more labelled training samples, found 1"):
        problem(digits, target, samples=1)


@pytest.mark.parametrize("space", ["body", "tokens"])
def test_source_samples_that_the_model_does_not_tell_apart_raise_an_error(digits, space):
    model = tiny_backbone().model
    model.model.visual.conv1.weight.detach().zero_()
    with pytest.raises(ValueError, match=f"source must have samples that differ .* {space}, but all 60 are the same"):
        read_source(model, digits, PROBE, space, 60, 0, CPU)


@pytest.mark.filterwarnings("ignore:Problem")  # POT's, of costs that are NaN
@pytest.mark.parametrize(("objective", "losses"), [("fa", "distance nan"), ("fa_mi", "label term nan")])
def test_a_loss_that_is_not_finite_ends_the_stage(digits, target, objective, losses):
    with pytest.raises(ValueError, match=f"not finite at step 2 .*{losses}.*; choose a smaller lr"):
        learn(problem(digits, target), objective, lr=1e30)


def test_the_outcome_is_kept_in_a_file(tmp_path, digits, target):
    prepared = problem(digits, target)
    slopes = (Slopes(0.95, 0.5, 0.2, 9.8), Slopes(0.9, 0.4, 0.1, 3.5))
    outcome = learn(prepared, "fa_mi", steps=3)._replace(slopes=slopes)
    write_alignment(tmp_path / "alignment.safetensors", prepared.model, outcome)
    model = tiny_backbone().model
    conv1d(model, target.sample_shape)
    read = read_alignment(tmp_path / "alignment.safetensors", model, 3)
    assert (read.before, read.after) == (outcome.before, outcome.after)
    assert (read.slopes, read.lipschitz) == (slopes, outcome.lipschitz)
    features = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    assert torch.equal(read.transported(features), outcome.transported(features))
    assert all(torch.equal(p, embedder_parameters(prepared.model)[n]) for n, p in embedder_parameters(model).items())
    with pytest.raises(ValueError, match=r"label_given_source must have the shape \(4, 10\), found \(3, 10\)"):
        read_alignment(tmp_path / "alignment.safetensors", model, 4)


def test_the_transported_predictor_is_a_mixture(digits, target):
    prepared = problem(digits, target)
    transported = learn(prepared, Objective(None, None, 1.0)).transported
    features = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    expected = prepared.source.predict(features) @ transported.transition.T
    torch.testing.assert_close(transported(features).exp(), expected)
    torch.testing.assert_close(expected.sum(dim=1), torch.ones(5))


@pytest.fixture
def numbers(tmp_path):
    """Two numbers to predict, the second of which follows from the class."""
    samples, labels = labelled(48, 0)
    values = np.stack([np.zeros(48), 10.0 * labels], axis=1)
    path = write_npz(tmp_path / "numbers.npz", train_x=samples, train_y=values, test_y=values[:9])
    return array_data(path, held_out=HELD_OUT, task="regression")


def test_values_are_clustered_into_classes(numbers):
    count, labels, values = target_classes(numbers, 4, seed=0)
    targets = numbers.training_targets()
    assert count == 3  # of as many distinct values
    assert torch.equal(values[labels], targets)
    assert target_classes(numbers, 2, seed=0).size == 2


def test_values_are_transported(tmp_path, digits, numbers):
    prepared = problem(digits, numbers)
    outcome = learn(prepared, "fa_mi", steps=3)
    predicted = outcome.transported(torch.nn.functional.normalize(torch.randn(5, 16), dim=1))
    assert predicted.shape == (5, 2)
    assert ((predicted >= -1e-4) & (predicted <= 20.001)).all()  # a mean of the clusters' values
    write_alignment(tmp_path / "alignment.safetensors", prepared.model, outcome)
    read = read_alignment(tmp_path / "alignment.safetensors", prepared.model, 1, numbers.context()["outputs"])
    assert torch.equal(read.transported.values, outcome.transported.values)
    with pytest.raises(ValueError, match=r"values must have the shape \(3, 2, 2\), found \(3, 2\)"):
        read_alignment(
            *(tmp_path / "alignment.safetensors", prepared.model, 1),
            TargetSpec(torch.zeros(2, 2), torch.ones(()), binary=False),
        )


def test_binary_values_are_transported_as_logits():
    weight, given = torch.eye(2), torch.eye(2)
    predictor = TransportedPredictor(weight, torch.zeros(2), given, torch.tensor([[1.0, 0.5], [0.0, 0.5]]), True)
    features = torch.tensor([[3.0, 0.0]])
    torch.testing.assert_close(predictor(features), torch.tensor([[3.0, 0.0]]))
