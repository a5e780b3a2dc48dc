import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.teachers.helpers import Student, closed_form, snapshot, walk
from tracer_lightning.kernels import ExponentialKernel
from tracer_lightning.teachers import EMATeacher, WMATeacher


def test_constant_momentum_by_recursion():
    student = Student()
    teacher = EMATeacher(student, momentum=0.8, total_steps=10)
    expected = snapshot(student)
    for step in walk(student, 10):
        teacher.update(student, step)
        expected = {name: 0.8 * value + 0.2 * snapshot(student)[name] for name, value in expected.items()}
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)


def test_ramp_of_carot():
    """From 0.05 to 0.9 over the first 20% of 100 steps."""
    teacher = EMATeacher(Student(), momentum=0.9, initial_momentum=0.05, total_steps=100)
    momenta = [1.0 - teacher.next_weight(step, 100) for step in (0, 10, 20, 50)]
    assert momenta == pytest.approx([0.05, 0.475, 0.9, 0.9])


def test_is_a_wma_with_exponential_weights():
    """alpha_t = (1 - rho) / rho^t alpha_0."""
    rho, total = 0.9, 30
    student = Student()
    teacher = EMATeacher(student, momentum=rho, total_steps=total)
    snapshots, weights = [snapshot(student)], [1.0]
    for step in walk(student, total):
        teacher.update(student, step)
        snapshots.append(snapshot(student))
        weights.append((1 - rho) / rho**step)
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_allclose(value, closed_form(snapshots, weights)[name], rtol=1e-5, atol=1e-6)


def exponential(rho, total):
    """The kernel whose rate is momentum rho."""
    return ExponentialKernel(-(total + 1) * math.log(rho))


def followed(teacher, students):
    """Compute the averages of students (T, 3) after theta_0 at every step."""
    student, trajectory = copy.deepcopy(teacher.module), []
    for weights in students:
        with torch.no_grad():
            student.weight.copy_(weights)
        teacher.update(student)
        trajectory.append(teacher.module.weight.detach().clone())
    return torch.stack(trajectory)


def encoder(weights):
    module = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        module.weight.copy_(weights)
    return module


@pytest.mark.parametrize("rho", [0.5, 0.9, 0.99])
def test_an_exponential_kernel_is_exactly_an_ema(rho):
    """Of theta_0 like any other student that is the EMA without bias; of theta_0 for ever before, the EMA from it."""
    total = 60
    path = torch.randn(total + 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = exponential(rho, total)

    unbiased = followed(WMATeacher(encoder(path[0]), kernel, total), path[1:])
    from_zero = followed(EMATeacher(encoder(torch.zeros(2, 3)), rho, total_steps=total + 1), path)[1:]
    correction = 1 - rho ** torch.arange(2, total + 2, dtype=torch.float64)
    torch.testing.assert_close(unbiased, from_zero / correction[:, None, None], rtol=1e-12, atol=1e-12)

    def for_ever(progress):
        return kernel(progress) / (1 - rho) if progress < 1 / (total + 1) else kernel(progress)

    plain = followed(EMATeacher(encoder(path[0]), rho, total_steps=total), path[1:])
    torch.testing.assert_close(
        followed(WMATeacher(encoder(path[0]), for_ever, total), path[1:]), plain, rtol=0, atol=1e-12
    )
    far = (unbiased - plain).flatten(1).norm(dim=1)
    assert far[0] > 0.1
    weight = rho ** torch.arange(1, total + 1, dtype=torch.float64)
    assert (far <= 2 * path.flatten(1).norm(dim=1).max() * weight + 1e-12).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 1.5}, "momentum must lie in"),
        ({"initial_momentum": -0.1}, "initial_momentum must lie in"),
        ({"ramp_fraction": 0.0}, "ramp_fraction must lie in"),
    ],
)
def test_refuses_values_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        EMATeacher(Student(), **options)
