import math

import pytest

from tracer_lightning.losses import FeatureDistillation, InfoNCE, WeightedSum


def test_is_the_weighted_sum_and_returns_every_term(inputs):
    loss = WeightedSum({"nce": InfoNCE(), "fd": FeatureDistillation()}, {"nce": 1.0, "fd": 0.25})
    total, terms = loss(inputs)
    assert list(terms) == ["nce", "fd"]
    assert total.item() == pytest.approx(InfoNCE()(inputs).item() + 0.25 * FeatureDistillation()(inputs).item())


def test_a_term_of_weight_zero_is_not_computed(inputs):
    loss = WeightedSum({"nce": InfoNCE(), "fd": FeatureDistillation()}, {"nce": 1.0, "fd": 0.0})
    assert not loss.with_teacher
    assert list(loss(inputs._replace(teacher=None))[1]) == ["nce"]


def test_terms_that_compare_with_a_teacher_count_from_a_step_on():
    terms = {"nce": InfoNCE(), "fd": FeatureDistillation()}
    loss = WeightedSum(terms, {"nce": 1.0, "fd": 0.25}, distillation_from=2)
    assert [loss.counting(step) for step in (0, 1, 2)] == [("nce",), ("nce",), ("nce", "fd")]


def test_an_empty_sum_is_zero(inputs):
    total, terms = WeightedSum({}, {})(inputs)
    assert total.item() == 0.0
    assert terms == {}


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_refuses_weights(weight):
    with pytest.raises(ValueError, match="weight of nce must be a finite number >= 0"):
        WeightedSum({"nce": InfoNCE()}, {"nce": weight})


def test_refuses_other_names():
    with pytest.raises(ValueError, match="must name the same"):
        WeightedSum({"nce": InfoNCE()}, {"fd": 1.0})
