import math

import numpy as np
import pytest
import torch

from tests.teachers.helpers import Student, closed_form, snapshot, walk
from tracer_lightning.kernels import BetaKernel, UniformKernel
from tracer_lightning.teachers import WMATeacher


def alpha(kernel, step, total):
    return kernel((step + 0.5) / (total + 1))


@pytest.mark.parametrize("interval", [1, 3, 7])
@pytest.mark.parametrize("kernel", [BetaKernel(0.5), BetaKernel(1.5), UniformKernel()])
def test_equals_the_closed_form_with_the_clock_of_optimizer_steps(kernel, interval):
    total = 40
    student = Student()
    teacher = WMATeacher(student, kernel, total)
    snapshots, weights = [snapshot(student)], [alpha(kernel, 0, total)]
    for step in walk(student, total):
        if step % interval == 0:
            teacher.update(student, step)
            snapshots.append(snapshot(student))
            weights.append(alpha(kernel, step, total))
    expected = closed_form(snapshots, weights)
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_allclose(value, expected[name], rtol=2e-6, atol=2e-7)


def test_theta_0_counts():
    """Algorithm 1 of the paper would forget it at the first step."""
    student = Student()
    start = snapshot(student)["scale"]
    teacher = WMATeacher(student, UniformKernel(), 10)
    with torch.no_grad():
        student.scale.add_(1.0)
    teacher.update(student)
    np.testing.assert_allclose(snapshot(teacher.module)["scale"], start + 0.5, rtol=1e-7)


def test_update_without_a_step_increments_the_step():
    student = Student()
    counted, named = WMATeacher(student, BetaKernel(), 5), WMATeacher(student, BetaKernel(), 5)
    for step in walk(student, 5):
        counted.update(student)
        named.update(student, step)
    assert counted.step == named.step == 5
    for first, second in zip(counted.module.parameters(), named.module.parameters(), strict=True):
        assert torch.equal(first, second)


def test_the_official_clock_counts_updates():
    total, interval = 40, 10
    student = Student()
    kernel = BetaKernel(0.5)
    teacher = WMATeacher(student, kernel, total, clock_counts_updates=True)
    snapshots, weights = [snapshot(student)], [alpha(kernel, 0, total)]
    for step in walk(student, total):
        if step % interval == 0:
            teacher.update(student, step)
            snapshots.append(snapshot(student))
            weights.append(alpha(kernel, step // interval, total))
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_allclose(value, closed_form(snapshots, weights)[name], rtol=2e-6, atol=2e-7)


def test_the_clock_stops_at_the_horizon():
    student = Student()
    teacher = WMATeacher(student, BetaKernel(0.5), 3)
    for step in walk(student, 5):
        teacher.update(student, step)
    assert teacher.step == 5


def test_a_kernel_of_zeros_keeps_theta_0_and_negative_weights_raise_errors():
    student = Student()
    teacher = WMATeacher(student, lambda progress: 0.0, 5)
    start = snapshot(teacher.module)["scale"]
    for step in walk(student, 2):
        teacher.update(student, step)
    assert snapshot(teacher.module)["scale"] == start
    with pytest.raises(ValueError, match="finite weights >= 0"):
        WMATeacher(student, lambda progress: -1.0, 5).update(student)


def test_a_first_weight_of_zero_forgets_theta_0_once_there_is_another():
    student = Student()
    teacher = WMATeacher(student, lambda progress: max(0.0, progress - 0.5), 5)  # 0 until step 2
    start = snapshot(teacher.module)["scale"]
    snapshots, weights = [], []
    for step in walk(student, 5):
        teacher.update(student, step)
        snapshots.append(snapshot(student))
        weights.append(max(0.0, (step + 0.5) / 6 - 0.5))
        if step == 2:
            assert snapshot(teacher.module)["scale"] == start
        if step == 3:
            assert snapshot(teacher.module)["scale"] == snapshots[-1]["scale"]
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_allclose(value, closed_form(snapshots, weights)[name], rtol=2e-6, atol=2e-7)


def test_a_kernel_that_fails_late_raises_an_error_before_training():
    student = Student()
    teacher = WMATeacher(student, lambda progress: 1.0 - 1.5 * progress)
    with pytest.raises(ValueError, match=r"finite weights >= 0, found -0.0024.* at progress 0.668.*, step 67 of 100"):
        teacher.begin(student, 100)


def test_a_kernel_that_raises_or_overflows_raises_an_error_before_training():
    student = Student()
    for kernel, message in (
        (lambda progress: math.log(progress - 0.5), "found ValueError.*math domain error.* step 0 of 10"),
        (lambda progress: 1 / (progress - progress), "found ZeroDivisionError"),
        (lambda progress: 1.7e308, "sum over 10 steps is finite"),
    ):
        with pytest.raises(ValueError, match=message):
            WMATeacher(student, kernel).begin(student, 10)


def test_kernels_must_be_callable():
    with pytest.raises(ValueError, match="kernel must be a function of progress"):
        WMATeacher(Student(), 0.5)


def test_state_continues_exactly():
    kernel = BetaKernel(0.5)
    student = Student()
    uninterrupted = WMATeacher(student, kernel, 12)
    broken = WMATeacher(student, kernel, 12)
    for step in walk(student, 12):
        uninterrupted.update(student, step)
        broken.update(student, step)
        if step == 5:
            state = {name: copy_of(value) for name, value in broken.state_dict().items()}
            broken = WMATeacher(Student(), kernel)
            broken.load_state_dict(state)
            broken.resume(12)
    assert (broken.step, broken.weight_sum) == (uninterrupted.step, uninterrupted.weight_sum)
    for first, second in zip(uninterrupted.state_dict().values(), broken.state_dict().values(), strict=True):
        assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def copy_of(value):
    return value.clone() if isinstance(value, torch.Tensor) else dict(value)
