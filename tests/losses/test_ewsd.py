from types import SimpleNamespace

import pytest
import torch

from tracer_lightning.losses import EWSD
from tracer_lightning.types import ClipFeatures, LossInputs


def inputs(image):
    return LossInputs(ClipFeatures(image, image, torch.tensor(1.0)), None)


def model(projection):
    return SimpleNamespace(image_projection=projection)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    """Features along the axes, three on the first and one on the second: singular values sqrt(3) and 1."""
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).double()
    regularizer = EWSD(model(torch.zeros(1, 2).double()), exponent=2.0)
    w = torch.tensor([1 / 3**0.5, 1.0])
    first, second = (w / w.mean()).tolist()
    change = torch.tensor([[2.0, 5.0]]).double()
    expected = 0.5 * (3 * (first * 2.0) ** 2 + (second * 5.0) ** 2) / 4
    assert regularizer(model(change), inputs(image)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_naive_loops_and_the_gradient_of_the_projection(exponent):
    image, start, now = random(7, 3), random(4, 3, seed=1), random(4, 3, seed=2).requires_grad_()
    regularizer = EWSD(model(start), exponent)
    _, s, v = torch.linalg.svd(image, full_matrices=False)
    omega = [(value + 1e-8) ** (-exponent / 2) for value in s.tolist()]
    omega = [value / (sum(omega) / 3) for value in omega]
    total = 0.0
    for row in image.tolist():
        rotated = [sum(row[d] * v[r, d].item() for d in range(3)) * omega[r] for r in range(3)]
        for width in range(4):
            total += sum(rotated[r] * (now[width, r] - start[width, r]).item() for r in range(3)) ** 2
    assert regularizer(model(now), inputs(image)).item() == pytest.approx(0.5 * total / (7 * 4), rel=1e-9)
    assert torch.autograd.gradcheck(lambda w: regularizer(model(w), inputs(image)), (now,))


def test_the_loss_is_zero_at_the_start(backbone):
    regularizer = EWSD(backbone.model, 1.0)
    image = torch.nn.functional.normalize(torch.randn(32, 16), dim=-1)
    assert regularizer(backbone.model, inputs(image)).item() == 0.0
    assert not regularizer.state_dict()


def test_mistakes():
    regularizer = EWSD(model(random(4, 3)), 1.0)
    with pytest.raises(ValueError, match=r"at least D = 3 samples, found 2; raise batch_size"):
        regularizer(model(random(4, 3)), inputs(random(2, 3)))
    with pytest.raises(ValueError, match="exponent must be a finite number >= 0"):
        EWSD(model(random(4, 3)), -1.0)
