"""Metrics of values in place of classes, against scikit-learn and naive loops."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from tracer_lightning.evaluation import DenseSuite, MaskSuite, MultilabelSuite, RegressionSuite
from tracer_lightning.evaluation.value_metrics import LabelMetrics, MapMetrics, MaskMetrics, NumberMetrics
from tracer_lightning.types import Batch, EvalSet, TargetSpec

NAN = math.nan
EVERY = torch.ones(6, dtype=torch.bool)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_labels_are_ranked_as_by_scikit_learn():
    outputs, labels = 30 * drawn(6, 4), (drawn(6, 4, seed=1) > 0).float()
    labels[:, 2] = 0  # has neither precision nor area
    labels[:, 3] = 1  # has no area
    metrics = LabelMetrics()
    metrics.update(outputs[:2], labels[:2], EVERY[:2])
    metrics.update(outputs[2:], labels[2:], EVERY[2:])
    precision = np.mean([average_precision_score(labels[:, k], outputs[:, k]) for k in (0, 1, 3)])
    area = np.mean([roc_auc_score(labels[:, k], outputs[:, k]) for k in (0, 1)])
    assert metrics.compute() == {
        "n": 6,
        "map_error": pytest.approx(1 - precision),
        "auroc_error": pytest.approx(1 - area),
    }


def test_masks_are_ranked_pixel_by_pixel():
    outputs, targets = drawn(6, 3, 2), (drawn(6, 3, 2, seed=1) > 0.5).float()
    targets[0, 0] = NAN
    metrics = MaskMetrics()
    metrics.update(outputs, targets, EVERY)
    known = ~targets.isnan()
    area = roc_auc_score(targets[known], outputs[known])
    wrong = ((outputs > 0) != (targets > 0))[known].float().mean().item()
    assert metrics.compute() == {"n": 6, "auroc_error": pytest.approx(1 - area), "pixel_error": pytest.approx(wrong)}


def test_maps_have_errors_up_to_a_cutoff_and_off_the_diagonal():
    outputs, targets = 8 + drawn(6, 4, 4), 8 + drawn(6, 4, 4, seed=1)
    targets[1] = 9.0  # has no pixel that counts in the MAE
    targets[2, :, 0] = NAN
    metrics = MapMetrics(cutoff=8.0, separation=2)
    metrics.update(outputs, targets, EVERY)
    means, relative = [], []
    for output, target in zip(outputs.tolist(), targets.tolist(), strict=True):
        pixels = [(r, c) for r in range(4) for c in range(4) if not math.isnan(target[r][c])]
        errors = [abs(output[r][c] - target[r][c]) for r, c in pixels if c - r >= 2 and target[r][c] <= 8]
        means += [sum(errors) / len(errors)] if errors else []
        squares = sum((output[r][c] - target[r][c]) ** 2 for r, c in pixels)
        relative.append(math.sqrt(squares / sum(target[r][c] ** 2 for r, c in pixels)))
    scores = metrics.compute()
    assert scores["mae"] == pytest.approx(np.mean(means), rel=1e-5)
    assert scores["relative_l2"] == pytest.approx(np.mean(relative), rel=1e-5)


@pytest.mark.parametrize("metrics", [LabelMetrics, NumberMetrics, MapMetrics, MaskMetrics])
def test_predictions_that_are_no_numbers_have_no_scores(metrics):
    """Where the targets are unknown, they don't count."""
    shape = (6, 2) if metrics in (LabelMetrics, NumberMetrics) else (6, 2, 2)
    outputs, targets = drawn(*shape), (torch.arange(math.prod(shape)) // 3 % 2).float().reshape(shape)
    outputs[3, 0] = NAN
    for seen in (targets.masked_fill(outputs.isnan(), NAN), targets):
        metric = metrics()
        metric.update(outputs, seen, EVERY)
        scores = metric.compute()
        assert scores.pop("n") == 6
        assert [math.isnan(score) for score in scores.values()] == [seen is targets] * len(scores)


def test_maps_that_are_zero_everywhere_have_no_relative_error():
    targets = torch.ones(3, 2, 2)
    targets[1] = 0.0
    metrics = MapMetrics()
    metrics.update(torch.full((3, 2, 2), 1.5), targets, EVERY[:3])
    scores = metrics.compute()
    assert (scores["n"], scores["relative_l2"]) == (3, 0.5)
    assert scores["mae"] == pytest.approx((0.5 + 1.5 + 0.5) / 3)


SHAPES = {MultilabelSuite: (3,), RegressionSuite: (2,), DenseSuite: (2, 2), MaskSuite: (2, 2)}


def batch_of(targets, indices):
    empty = torch.zeros(len(indices), dtype=torch.long)
    return Batch(torch.zeros(len(indices), 1), empty[:, None], empty, torch.tensor(indices), targets=targets)


@pytest.mark.parametrize("kind", SHAPES)
def test_models_are_scored_by_their_heads_and_before_training_by_the_means(kind):
    shape = SHAPES[kind]
    mean, targets = torch.full(shape, 0.25), (drawn(5, *shape) > 0).float()
    targets[4] = NAN  # padding
    suite = kind([EvalSet("mine", "test", "id")], TargetSpec(mean, torch.ones(()), binary=False))
    model = SimpleNamespace(head=SimpleNamespace(mean=mean), predict=lambda images: 9 * targets.nan_to_num() - 4)
    for untrained in (True, False):
        suite.start({"student": model}, untrained=untrained)
        suite.update(batch_of(targets, [0, 1, 2, 3, -1]), 0)
        scores = suite.finish()["student"]["mine"]
        assert scores["n"] == 4
        assert set(scores) - {"split", "role", "n"} == {metric.name for metric in kind.metrics}
        if kind is RegressionSuite:
            off = (mean if untrained else 9 * targets - 4) - targets
            assert scores["rmse"] == pytest.approx(off[:4].square().mean().sqrt().item())


def test_a_set_without_samples_has_no_scores():
    suite = MultilabelSuite([EvalSet("mine", "test", "id")], TargetSpec(torch.zeros(3), torch.ones(3), binary=True))
    suite.start({"student": SimpleNamespace(head=None)}, untrained=True)
    suite.update(batch_of(torch.full((2, 3), NAN), [-1, -1]), 0)
    assert suite.finish()["student"]["mine"] == {
        **{"split": "test", "role": "id", "n": 0},
        **{"map_error": None, "auroc_error": None},
    }


def test_a_head_of_other_values_is_refused():
    suite = RegressionSuite([EvalSet("mine", "test", "id")], TargetSpec(torch.zeros(3), torch.ones(3), binary=False))
    with pytest.raises(ValueError, match=r"student must have a head of values of the shape \(3,\).*found \(2,\)"):
        suite.start({"student": SimpleNamespace(head=SimpleNamespace(mean=torch.zeros(2)))})
