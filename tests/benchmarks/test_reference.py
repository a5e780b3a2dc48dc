"""The plain implementations compute what the application computes, or the comparison is of different things."""

import open_clip
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks import step
from tracer_lightning.benchmarks.ours import collate, flyp, step_seconds, tracer
from tracer_lightning.benchmarks.reference import NaiveTracer, PlainFlyp, plain_model
from tracer_lightning.benchmarks.step import StepOptions, random_batches
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models.open_clip.export import export_clip

STEPS = 3


@pytest.fixture
def start():
    return tiny_backbone()


@pytest.fixture
def batches(start):
    return random_batches(start.spec, 6, STEPS, "cpu")


def states(model):
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def assert_same(first, second):
    for name, value in states(first).items():
        torch.testing.assert_close(value, states(second)[name], rtol=1e-6, atol=1e-9)


def test_plain_flyp_is_ours(start, batches):
    plain = PlainFlyp(plain_model(start).double(), "64-true")
    for batch in batches:
        plain.step(batch.images.double(), batch.texts)
    ours = flyp(start.model)
    assert len(step_seconds(ours, [collate(batch) for batch in batches], "cpu", "64-true")) == STEPS - 1
    assert_same(ours.student.model, plain.model)


def test_naive_tracer_is_ours(start, batches):
    naive = NaiveTracer(plain_model(start).double(), "64-true", BetaKernel(0.5), STEPS)
    for batch in batches:
        naive.step(batch.images.double(), batch.texts)
    ours = tracer(start.model)
    step_seconds(ours, [collate(batch) for batch in batches], "cpu", "64-true")
    assert_same(ours.student.model, naive.model)
    assert_same(ours.teacher.module.model, naive.teacher)
    moved = (naive.teacher.visual.proj - naive.model.visual.proj).abs().max()
    assert moved > 1e-6
    assert len(naive.statistics) == STEPS


def test_the_plain_model_is_open_clip_s_own(start):
    """Not the one whose blocks compute less."""
    kinds = {type(module) for module in plain_model(start).modules()}
    assert kinds == {type(module) for module in open_clip.CLIP(**start.config).modules()}


@pytest.mark.exhaustive
def test_rounds_are_in_turn_and_compared_one_by_one(tmp_path, start):
    export_clip(start, tmp_path / "model")
    result = step.measure(
        StepOptions(f"local-dir:{tmp_path}/model", 4, steps=2, rounds=3, accelerator="cpu", precision="32-true")
    )
    assert {name: len(values) for name, values in result["rounds"].items()} == dict.fromkeys(
        ("plain FLYP", "our FLYP", "naive TRACER", "our TRACER", "our TRACER, teacher in bf16"), 3
    )
    for name, count in result["flops"].items():
        assert result["flops per second"][name] == count / result["seconds"][name]["median"] > 0
    assert result["flops"]["plain FLYP"] > result["flops"]["our FLYP"]
    assert result["utilisation"] is None
    summary = step.summary(result["rounds"] | {"plain FLYP": [1.0, 2.0, 4.0], "our TRACER": [2.0, 2.0, 2.0]})
    ratio = summary["ratios"]["our TRACER / plain FLYP"]
    assert ratio == {"median": 1.0, "range": [0.5, 2.0]}
    assert summary["seconds"]["plain FLYP"] == {"median": 2.0, "range": [1.0, 4.0]}
    assert all(peak["host"] > 1e6 for peak in result["peak memory"].values())
