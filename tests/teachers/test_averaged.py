import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import tiny_backbone
from tests.teachers.helpers import Student, snapshot, walk
from tracer_lightning.kernels import BetaKernel, UniformKernel
from tracer_lightning.models import freeze
from tracer_lightning.teachers import EMATeacher, FrozenTeacher, NoTeacher, WMATeacher


def test_frozen_parameters_are_shared_and_trained_ones_are_not():
    student = Student()
    teacher = WMATeacher(student, BetaKernel(), 5)
    assert teacher.module.frozen.weight is student.frozen.weight
    assert teacher.module.linear.weight is not student.linear.weight
    assert set(teacher.trained) == {"linear.weight", "linear.bias", "norm.weight", "norm.bias", "scale"}


def test_teachers_never_train_and_never_track_gradients():
    student = Student()
    teacher = WMATeacher(student, BetaKernel(), 5).train()
    assert not any(module.training for module in teacher.modules())
    assert not teacher(torch.randn(4, 3)).requires_grad
    assert not any(p.requires_grad for p in teacher.module.linear.parameters())
    assert student.linear.weight.requires_grad


class Layer(nn.Module):
    """Returns its output in the precision of its computation."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 64)

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize("kind", [FrozenTeacher, EMATeacher, partial(WMATeacher, kernel=UniformKernel())])
def test_a_pass_in_bf16_keeps_the_average_as_it_is(kind):
    torch.manual_seed(0)
    student, x = Layer(), torch.randn(32, 64)
    full, half = kind(student, total_steps=5), kind(student, total_steps=5, precision="bf16")
    for _ in range(2):
        with torch.no_grad():
            student.linear.weight.add_(0.1)
        full.update(student)
        half.update(student)
    assert half.module.linear.weight.dtype == torch.float32
    assert torch.equal(half.module.linear.weight, full.module.linear.weight)
    output = half(x)
    assert output.dtype == torch.bfloat16
    assert 0 < (output.float() - full(x)).norm() / full(x).norm() < 0.01
    assert full(x).dtype == torch.float32


def test_an_unknown_precision_raises_an_error():
    with pytest.raises(ValueError, match="precision must be one of same, bf16, found 'fp4'"):
        FrozenTeacher(Layer(), precision="fp4")


def test_batch_statistics_are_averaged_and_other_buffers_copied():
    student = Student()
    teacher = WMATeacher(student, UniformKernel(), 5)
    student(10 + torch.randn(64, 3))
    mean = student.norm.running_mean.clone()
    teacher.update(student)
    torch.testing.assert_close(teacher.module.norm.running_mean, mean / 2)
    assert teacher.module.norm.num_batches_tracked == 1
    assert not teacher.module.mask.isnan().any()


def test_compensation_keeps_small_displacements_of_large_values():
    """A gain near one that creeps by less than an ulp of its average: plain fp32 stands still."""

    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(8))

    steps = 5_000
    student = Gain()
    teacher = WMATeacher(student, UniformKernel(), steps)
    plain, values = torch.ones(8), []
    for step in range(1, steps + 1):
        with torch.no_grad():
            student.gain.fill_(1.0 + 1e-3 * step / steps)
        teacher.update(student, step)
        plain.lerp_(student.gain.detach(), 1 / (step + 1))
        values.append(student.gain[0].double().item())
    displacement = (1.0 + sum(values)) / (steps + 1) - 1.0
    ours = abs(teacher.module.gain[0].double().item() - 1.0 - displacement) / displacement
    naive = abs(plain[0].double().item() - 1.0 - displacement) / displacement
    assert ours < 3e-4 < 0.02 < naive


def test_follows_devices_but_not_narrower_types():
    student = Student()
    teacher = WMATeacher(student, BetaKernel(), 5).to(torch.bfloat16)
    assert teacher.module.linear.weight.dtype == torch.float32
    assert teacher.double().module.linear.weight.dtype == torch.float64


def test_a_narrow_student_has_a_wide_average():
    student = Student().to(torch.bfloat16)
    teacher = WMATeacher(student, BetaKernel(), 5)
    assert teacher.module.linear.weight.dtype == torch.float32
    next(walk(student, 1))
    teacher.update(student)
    assert teacher.module.linear.weight.dtype == torch.float32


def test_checkpointing_of_activations_is_off(backbone):
    backbone.model.model.set_grad_checkpointing(True)
    teacher = FrozenTeacher(backbone.model, 5)
    assert not any(getattr(module, "grad_checkpointing", False) for module in teacher.modules())
    assert any(getattr(module, "grad_checkpointing", False) for module in backbone.model.modules())


def test_shares_the_frozen_tower_of_a_clip():
    model = tiny_backbone().model
    freeze(model, ["transformer.*", "token_embedding.*"])
    teacher = WMATeacher(model, BetaKernel(), 5)
    assert teacher.module.model.token_embedding.weight is model.model.token_embedding.weight
    copy.deepcopy(teacher)


def test_begin_resets_and_resume_refuses_another_horizon():
    student = Student()
    teacher = WMATeacher(student, BetaKernel())
    teacher.begin(student, 6)
    for step in walk(student, 3):
        teacher.update(student, step)
    with pytest.raises(ValueError, match="7 optimizer steps and the checkpoint was made for 6"):
        teacher.resume(7)
    teacher.begin(student, 9)
    assert (teacher.step, teacher.updates, teacher.total_steps) == (0, 0, 9)
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_array_equal(value, snapshot(student)[name])
    assert not teacher.compensation_0.any()


def test_freezing_after_construction_raises_an_error():
    student = Student()
    teacher = WMATeacher(student, BetaKernel())
    student.linear.bias.requires_grad_(False)
    with pytest.raises(ValueError, match=r"linear\.bias was frozen or unfrozen"):
        teacher.begin(student, 5)


@pytest.mark.parametrize("total", [0, -1, 2.5, True])
def test_total_steps_is_checked(total):
    with pytest.raises(ValueError, match="total_steps must be a whole number >= 1"):
        WMATeacher(Student(), BetaKernel(), total)


def test_steps_must_increase_and_the_horizon_be_known():
    student = Student()
    with pytest.raises(ValueError, match="total_steps is unknown"):
        WMATeacher(student, BetaKernel()).update(student)
    teacher = WMATeacher(student, BetaKernel(), 5)
    teacher.update(student, 2)
    with pytest.raises(ValueError, match="step must be larger than"):
        teacher.update(student, 2)


def test_a_frozen_teacher_does_not_change():
    student = Student()
    teacher = FrozenTeacher(student, 5)
    start = snapshot(teacher.module)
    for step in walk(student, 3):
        teacher.update(student, step)
    for name, value in snapshot(teacher.module).items():
        np.testing.assert_array_equal(value, start[name])


def test_no_teacher_does_nothing():
    student = Student()
    teacher = NoTeacher(student)
    teacher.begin(student, 3)
    teacher.update(student)
    teacher.resume(4)
    assert teacher(torch.zeros(1)) is None
    assert not teacher.state_dict()
