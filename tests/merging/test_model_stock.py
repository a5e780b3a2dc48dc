import itertools
import math

import pytest
import torch

from tests.merging.test_wise_ft import batch_norm
from tracer_lightning.merging import mean, mean_cosine, model_stock, stock_ratio


@pytest.mark.parametrize(
    ("cosine", "n", "ratio"),
    [
        (0.5, 2, 2 / 3),
        (0.5, 3, 0.75),
        (0.2, 4, 0.5),
        (1.0, 2, 1.0),
        (1.0 + 1e-12, 5, 1.0),
        (0.0, 2, 0.0),
        (-0.3, 2, 0.0),
        (-1.0, 2, 0.0),
    ],
)
def test_ratios_by_hand(cosine, n, ratio):
    assert stock_ratio(cosine, n) == pytest.approx(ratio)


def test_by_hand():
    """Task vectors (1, 0) and (1, 1): the cosine is 1 / sqrt(2)."""
    start = {"w": torch.tensor([2.0, 2.0])}
    merged, ratios = model_stock(start, [{"w": torch.tensor([3.0, 2.0])}, {"w": torch.tensor([3.0, 3.0])}])
    t = 2 * math.sqrt(0.5) / (1 + math.sqrt(0.5))
    assert ratios["w"] == pytest.approx((math.sqrt(0.5), t))
    assert merged["w"].tolist() == pytest.approx([2 + t, 2 + t / 2])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_one_pass_cosine_is_the_mean_over_all_pairs(n):
    vectors = torch.randn(n, 4, 5, generator=torch.Generator().manual_seed(n), dtype=torch.double) + 0.5
    pairs = [
        torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
        for first, second in itertools.combinations(vectors, 2)
    ]
    assert mean_cosine(list(vectors)) == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_against_a_naive_reference(dtype):
    generator = torch.Generator().manual_seed(0)
    start = {name: torch.randn(4, 3, generator=generator).to(dtype) for name in "abc"}
    tuned = [
        {name: (value + 0.3 + 0.5 * torch.randn(4, 3, generator=generator)).to(dtype) for name, value in start.items()}
        for _ in range(3)
    ]
    merged, ratios = model_stock(start, tuned)
    for name, value in start.items():
        tasks = torch.stack([(model[name].double() - value.double()).flatten() for model in tuned])
        unit = tasks / tasks.norm(dim=1, keepdim=True)
        cosine = ((unit @ unit.T).sum() - 3) / 6
        t = 3 * cosine / (1 + 2 * cosine)
        assert ratios[name] == pytest.approx((cosine.item(), t.item()), abs=1e-12)
        naive = t * torch.stack([model[name].double() for model in tuned]).mean(0) + (1 - t) * value.double()
        assert merged[name].dtype == dtype
        assert torch.equal(merged[name], naive.to(dtype))


def test_models_that_agree_give_their_mean_and_models_that_disagree_the_start():
    start = {"w": torch.tensor([1.0, 1.0])}
    agreeing = [{"w": torch.tensor([2.0, 3.0])}, {"w": torch.tensor([3.0, 5.0])}]
    assert torch.allclose(model_stock(start, agreeing)[0]["w"], mean(agreeing)["w"])
    opposed = [{"w": torch.tensor([2.0, 1.0])}, {"w": torch.tensor([-2.0, 1.0])}]
    merged, ratios = model_stock(start, opposed)
    assert ratios["w"] == (pytest.approx(-1.0), 0.0)
    assert torch.equal(merged["w"], start["w"])


def test_frozen_weights_stay_exact_and_have_no_ratio():
    frozen, value = torch.tensor([0.1, 0.2]), torch.tensor([1.0])
    start = {"frozen": frozen, "w": value}
    merged, ratios = model_stock(start, [{"frozen": frozen.clone(), "w": value + step} for step in (1, 2)])
    assert torch.equal(merged["frozen"], frozen)
    assert set(ratios) == {"w"}


def test_changes_of_only_one_model_are_kept():
    value = torch.tensor([0.1, 0.7])
    merged, ratios = model_stock({"w": value}, [{"w": value}, {"w": value + 1}, {"w": value}])
    assert torch.equal(merged["w"], value)
    assert ratios["w"] == (0.0, 0.0)


def test_statistics_are_merged_and_counters_taken_from_the_first_model():
    start, tuned = batch_norm(0, 1), [batch_norm(1, 4), batch_norm(2, 6)]
    merged, ratios = model_stock(start, tuned)
    assert merged["num_batches_tracked"].item() == 4
    assert set(ratios) == {"running_mean", "running_var"}
    assert (merged["running_var"] > 0).all()


def test_one_model_is_none():
    with pytest.raises(ValueError, match="tuned must hold two models or more, found 1"):
        model_stock({}, [{}])


def test_other_architectures_raise_errors():
    first, second = {"a": torch.zeros(2)}, {"a": torch.zeros(3)}
    with pytest.raises(ValueError, match=r"a has shape \(2,\) in theta_0 and \(3,\) in model 2"):
        model_stock(first, [first, second])
