import math

import numpy as np
import pytest

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
    momenta = [1.0 - teacher._next_weight(step, 100) for step in (0, 10, 20, 50)]
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


def test_the_exponential_kernel_has_its_ratio():
    rho, total = 0.9, 30
    kernel = ExponentialKernel(-(total + 1) * math.log(rho))
    ratio = kernel(4.5 / (total + 1)) / kernel(3.5 / (total + 1))
    assert ratio == pytest.approx(1 / rho)
    assert WMATeacher(Student(), kernel, total).kernel is kernel


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
