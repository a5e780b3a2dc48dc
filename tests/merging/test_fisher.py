import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_backbone
from tracer_lightning.merging import diagonal_fisher, fisher_merge, wise_ft
from tracer_lightning.merging.fisher import FLOOR
from tracer_lightning.models.heads import zero_shot_linear


def test_by_hand():
    start, tuned = {"w": torch.tensor([0.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, 1.0])}
    fishers = {"w": torch.tensor([3.0, 1.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, 0.0])}
    assert fisher_merge(start, tuned, fishers)["w"].tolist() == [0.25, 0.5, 0.5]
    assert fisher_merge(start, tuned, fishers, 0.75)["w"].tolist() == pytest.approx([0.5, 0.75, 0.75])
    floored = {"w": torch.zeros(3)}, {"w": torch.full((3,), 3 * FLOOR)}
    assert fisher_merge(start, tuned, floored)["w"].tolist() == pytest.approx([0.75] * 3)


def fishers_of(models, seed=0):
    torch.manual_seed(seed)
    return tuple(
        {name: torch.rand_like(p) ** 8 for name, p in model.named_parameters() if name.startswith("model.visual")}
        for model in models
    )


def test_a_model_at_both_ends_and_between():
    models = [tiny_backbone(seed).model for seed in (0, 1)]
    first, second = (model.state_dict() for model in models)
    fishers = fishers_of(models)
    for alpha, end in ((0.0, first), (1.0, second)):
        assert all(torch.equal(value, end[name]) for name, value in fisher_merge(first, second, fishers, alpha).items())
    plain = wise_ft(first, second, 0.3)
    for name, value in fisher_merge(first, second, fishers, 0.3).items():
        if name in fishers[0]:
            c_0, c_1 = 0.7 * fishers[0][name].clamp(min=FLOOR), 0.3 * fishers[1][name].clamp(min=FLOOR)
            assert torch.allclose(value, (c_0 * first[name] + c_1 * second[name]) / (c_0 + c_1), rtol=1e-4, atol=1e-6)
            assert torch.equal(first[name], second[name]) or not torch.equal(value, plain[name])
        else:
            assert torch.equal(value, plain[name])


def test_equal_information_gives_wise_ft():
    models = [tiny_backbone(seed).model.double() for seed in (0, 1)]
    first, second = (model.state_dict() for model in models)
    fisher = fishers_of(models)[0]
    for name, value in fisher_merge(first, second, (fisher, fisher), 0.3).items():
        assert torch.allclose(value, wise_ft(first, second, 0.3)[name], rtol=1e-12, atol=1e-14)


def test_information_of_one_model_alone_meets_one():
    start, tuned = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    assert fisher_merge(start, tuned, ({}, {"w": torch.tensor([3.0])}))["w"].item() == 0.75


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_is_a_share(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], found"):
        fisher_merge({}, {}, ({}, {}), alpha)


def test_information_is_that_of_a_naive_loop():
    torch.manual_seed(0)
    model = tiny_backbone().model.double().eval()
    head = zero_shot_linear(model, torch.randint(1, 99, (5, 2, 8))).double()
    images = torch.randn(6, 3, 32, 32, dtype=torch.double)

    def classify(batch):
        return F.linear(model.encode_image(batch), head.weight, head.bias)

    result = diagonal_fisher(classify, dict(model.named_parameters()), images, seed=3)
    generator, expected = torch.Generator().manual_seed(3), {}
    for number in range(6):
        model.zero_grad()
        logits = classify(images[number : number + 1])
        drawn = torch.multinomial(logits.detach().softmax(-1)[0], 1, generator=generator)
        F.cross_entropy(logits, drawn).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                expected[name] = expected.get(name, 0) + parameter.grad**2 / 6
    assert set(result) == set(expected) == {name for name, _ in model.named_parameters() if ".visual." in name}
    for name, value in expected.items():
        assert torch.allclose(result[name], value, rtol=1e-10, atol=1e-20)


def test_labels_are_the_models_own():
    """For logits W x the information of W is p_c (1 - p_c) x_d²."""
    torch.manual_seed(0)
    weight = (0.3 * torch.randn(4, 3, dtype=torch.double)).requires_grad_()
    x = torch.tensor([1.0, -2.0, 0.5], dtype=torch.double)
    images = x.view(3, 1, 1).expand(1000, 3, 1, 1)
    result = diagonal_fisher(lambda batch: batch.flatten(1) @ weight.T, {"w": weight}, images, seed=0)["w"]
    p = (weight @ x).softmax(-1).detach()
    assert torch.allclose(result, torch.outer(p * (1 - p), x**2), rtol=0.2)


def test_unmeasurable_values_are_reported():
    weight = torch.full((4, 3), float("nan"), requires_grad=True)
    images = torch.ones(1, 3, 1, 1)
    with pytest.raises(ValueError, match="prediction for a training image is not finite"):
        diagonal_fisher(lambda batch: batch.flatten(1) @ weight.T, {"w": weight}, images, seed=0)
    with pytest.raises(ValueError, match="images must contain one image or more"):
        diagonal_fisher(lambda batch: batch.flatten(1) @ weight.T, {"w": weight}, images[:0], seed=0)
