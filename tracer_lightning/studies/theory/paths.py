"""What this package's teachers make of the path of a linear encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tracer_lightning.kernels import Kernel, weight_at
from tracer_lightning.studies.theory.linear import Problem, distilled
from tracer_lightning.teachers import AveragedTeacher, EMATeacher, WMATeacher

MakeTeacher = Callable[[nn.Module, int], AveragedTeacher]
"""Student and number T of optimizer steps to a teacher."""


def wma(kernel: Kernel) -> MakeTeacher:
    """The trajectory average (Definition 3.3)."""
    return lambda student, total: WMATeacher(student, kernel, total)


def official(kernel: Kernel) -> MakeTeacher:
    """The trajectory average with the official code's clock, which counts updates instead of optimizer steps."""
    return lambda student, total: WMATeacher(student, kernel, total, clock_counts_updates=True)


def ema(momentum: float) -> MakeTeacher:
    """The average with constant momentum."""
    return lambda student, total: EMATeacher(student, momentum, total_steps=total)


def encoder(weights: Tensor) -> nn.Linear:
    """A projection with a copy of ``weights`` (p, d), trained."""
    module = nn.Linear(weights.shape[1], weights.shape[0], bias=False, dtype=weights.dtype)
    place(module, weights)
    return module


@torch.no_grad()
def place(module: nn.Linear, weights: Tensor) -> None:
    """Move the encoder to ``weights`` (p, d)."""
    module.weight.copy_(weights)


def averaged(teacher: AveragedTeacher) -> Tensor:
    """A copy of the teacher's weights (p, d)."""
    return teacher.module.get_parameter("weight").detach().clone()


def follow(path: Tensor, make: MakeTeacher) -> Tensor:
    """Teachers (T + 1, p, d) of the students ``path`` (T + 1, p, d), updated at every step."""
    student = encoder(path[0])
    teacher = make(student, len(path) - 1)
    teachers = [averaged(teacher)]
    for weights in path[1:]:
        place(student, weights)
        teacher.update(student)
        teachers.append(averaged(teacher))
    return torch.stack(teachers)


class Distillation(NamedTuple):
    """A run of T steps."""

    students: Tensor
    """W_t (T + 1, p, d)."""
    teachers: Tensor
    """(T + 1, p, d)."""


def self_distillation(problem: Problem, strength: float, make: MakeTeacher, steps: int) -> Distillation:
    """Alternate one exact minimisation and one update of the teacher (Proposition C.7)."""
    student = encoder(problem.start)
    teacher = make(student, steps)
    students, teachers = [problem.start], [averaged(teacher)]
    for _ in range(steps):
        students.append(distilled(problem, strength, students[-1], teachers[-1]))
        place(student, students[-1])
        teacher.update(student)
        teachers.append(averaged(teacher))
    return Distillation(torch.stack(students), torch.stack(teachers))


def snapshot_weights(make: MakeTeacher, steps: int, every: int = 1) -> Tensor:
    """omega_{k|T} of the students that the teacher saw, theta_0 first (steps // every + 1,).

    The k-th student is the k-th unit vector, so the teacher after T steps is the vector of its weights.
    """
    students = torch.eye(steps // every + 1, dtype=torch.float64)
    student = encoder(students[:1])
    teacher = make(student, steps)
    for number in range(1, len(students)):
        place(student, students[number : number + 1])
        teacher.update(student, number * every)
    return averaged(teacher)[0]


def alphas(kernel: Kernel, steps: int) -> Tensor:
    """alpha_k = kernel((k + 0.5)/(T + 1)) for k = 0 ... T (T + 1,) (eq. 15), without any teacher."""
    return torch.tensor([weight_at(kernel, k, steps) for k in range(steps + 1)], dtype=torch.float64)


def shares(kernel: Kernel, steps: int) -> Tensor:
    """omega_t = alpha_t / sum_{j<=t} alpha_j for t = 0 ... T (T + 1,), omega_0 = 1, without any teacher."""
    weights = alphas(kernel, steps)
    return weights / weights.cumsum(0)


def sizes(path: Tensor) -> Tensor:
    """Frobenius norms (T + 1,) of (T + 1, p, d)."""
    norms: Tensor = torch.linalg.vector_norm(path.flatten(1), dim=1)
    return norms
