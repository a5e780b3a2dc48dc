import pytest
import torch
from torch import nn

from tests.conftest import tiny_backbone
from tracer_lightning.merging import wise_ft


def test_by_hand():
    start = {"w": torch.tensor([[0.0, 4.0]]), "b": torch.tensor([1.0])}
    tuned = {"w": torch.tensor([[1.0, 0.0]]), "b": torch.tensor([1.0])}
    assert {name: value.tolist() for name, value in wise_ft(start, tuned, 0.25).items()} == {
        "w": [[0.25, 3.0]],
        "b": [1.0],
    }
    assert wise_ft(start, tuned)["w"].tolist() == [[0.5, 2.0]]


def test_a_model_at_both_ends_and_between():
    first, second = (tiny_backbone(seed).model.state_dict() for seed in (0, 1))
    assert all(torch.equal(value, first[name]) for name, value in wise_ft(first, second, 0.0).items())
    assert all(torch.equal(value, second[name]) for name, value in wise_ft(first, second, 1.0).items())
    for name, value in wise_ft(first, second, 0.3).items():
        naive = 0.7 * first[name].double() + 0.3 * second[name].double()
        assert torch.allclose(value.double(), naive, rtol=1e-6, atol=1e-8)


def test_models_are_left_as_they_are():
    first, second = (tiny_backbone(seed).model for seed in (0, 1))
    before = {name: value.clone() for name, value in first.state_dict().items()}
    merged = wise_ft(first.state_dict(), second.state_dict(), 0.5)
    assert not any(value.requires_grad for value in merged.values())
    assert all(torch.equal(value, before[name]) for name, value in first.state_dict().items())


def batch_norm(seed, batches):
    torch.manual_seed(seed)
    layer = nn.BatchNorm1d(3)
    for _ in range(batches):
        layer(torch.randn(8, 3))
    return layer.state_dict()


def test_statistics_of_batch_norm_are_interpolated_and_its_counter_is_not():
    first, second = batch_norm(0, 2), batch_norm(1, 5)
    merged = wise_ft(first, second, 0.5)
    for name in ("running_mean", "running_var"):
        assert not torch.equal(first[name], second[name])
        assert torch.allclose(merged[name], (first[name] + second[name]) / 2)
    assert merged["num_batches_tracked"].item() == 5
    assert wise_ft(first, second, 0.0)["num_batches_tracked"].item() == 2


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_is_a_share(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], found"):
        wise_ft({}, {}, alpha)


def test_other_architectures_raise_errors():
    with pytest.raises(ValueError, match="theta_1 lacks b, which theta_0 has"):
        wise_ft({"a": torch.zeros(1), "b": torch.zeros(1)}, {"a": torch.zeros(1)})
