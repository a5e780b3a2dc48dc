from types import SimpleNamespace

import pytest
import torch

from tracer_lightning.losses import L2SP, CrossFrobenius, Orthogonality
from tracer_lightning.models import freeze


def student(image, text):
    return SimpleNamespace(image_projection=image, text_projection=text)


def test_cross_frobenius_by_hand():
    model = student(torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.eye(2))
    assert CrossFrobenius()(model, None).item() == pytest.approx(5.0)
    assert CrossFrobenius(squared=True)(model, None).item() == pytest.approx(25.0)


def test_orthogonality_by_hand():
    """Columns of length 2 and 1 that are orthogonal: only the first departs, by 4 - 1."""
    model = student(torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.eye(2))
    assert Orthogonality()(model, None).item() == pytest.approx(3.0)


@pytest.mark.parametrize("regularizer", [CrossFrobenius(), Orthogonality()])
def test_naive_loop_and_gradients(regularizer):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(5, 3, generator=generator, dtype=torch.double, requires_grad=True)
    text = torch.randn(4, 3, generator=generator, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: regularizer(student(a, b), None), (image, text))
    total = 0.0
    if isinstance(regularizer, CrossFrobenius):
        for row in image.tolist():
            for vector in text.tolist():
                total += sum(a * b for a, b in zip(row, vector, strict=True)) ** 2
    else:
        for i in range(3):
            for j in range(3):
                total += (sum(row[i] * row[j] for row in image.tolist()) - float(i == j)) ** 2
    assert regularizer(student(image, text), None).item() == pytest.approx(total**0.5, rel=1e-12)


def test_on_a_clip(backbone):
    assert backbone.model.image_projection.shape == (32, 16)
    assert backbone.model.text_projection.shape == (16, 16)
    for regularizer in (CrossFrobenius(), Orthogonality()):
        regularizer(backbone.model, None).backward()
    assert backbone.model.model.visual.proj.grad.abs().sum() > 0


def test_l2_sp_is_half_the_squared_distance_of_what_is_trained(backbone):
    model = backbone.model.double()
    freeze(model, ["transformer.*"])
    regularizer = L2SP(model)
    assert regularizer(model, None).item() == 0.0
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    expected = sum(
        float(((parameter - start[name]) ** 2).sum()) / 2
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    )
    loss = regularizer(model, None)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, parameter.detach() - start[name])
        else:
            assert parameter.grad is None
    assert not regularizer.state_dict()
