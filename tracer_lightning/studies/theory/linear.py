"""Fine-tuning of linear encoders: closed forms, gradient descent, and the paths of this package's teachers.

W (p, d) is the trained image projection, W_0 its initial value, X (d, n) the images; the texts give the target matrix
Y (p, n). All tensors are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tracer_lightning.kernels import Kernel, weight_at
from tracer_lightning.teachers import AveragedTeacher, EMATeacher, WMATeacher

TOLERANCE = 1e-13
"""Ratio of the current to the first gradient norm at which gradient descent stops."""
MAX_STEPS = 10_000
SPECTRUM = (1.6, 0.7)
"""Largest and smallest singular value of the images of a random problem: on both sides of 1, where L2-SP crosses
static self-distillation."""
TeacherFactory = Callable[[nn.Module, int], AveragedTeacher]
"""Function from the student and the number T of optimizer steps to a teacher."""


def contrastive_target(text_weights: Tensor, texts: Tensor) -> Tensor:
    """Y = W_T X_T (n I - J), column i = sum_j (t_i - t_j), for the text features t = W_T X_T.

    Args:
        text_weights: W_T (p, c), the frozen text projection.
        texts: X_T (c, n).

    Returns:
        (p, n), whose columns sum to zero.
    """
    n = texts.shape[1]
    contrast: Tensor = n * torch.eye(n, dtype=texts.dtype) - torch.ones(n, n, dtype=texts.dtype)
    return text_weights @ texts @ contrast


@dataclass(frozen=True)
class Problem:
    """Minimise ½ ‖W X - Y‖² + R(W) from W_0."""

    images: Tensor
    """X (d, n)."""
    target: Tensor
    """Y (p, n)."""
    start: Tensor
    """W_0 (p, d)."""

    @cached_property
    def inverse(self) -> Tensor:
        """X⁺ = Xᵀ (X Xᵀ)⁺ = (XᵀX)⁺ Xᵀ (n, d); singular values of the size of rounding errors count as zero."""
        inverse: Tensor = torch.linalg.pinv(self.images, rtol=1e-12)
        return inverse

    @cached_property
    def inside(self) -> Tensor:
        """P = X (XᵀX)⁺ Xᵀ (d, d), the projection on the task subspace."""
        return self.images @ self.inverse

    @cached_property
    def outside(self) -> Tensor:
        """I - P (d, d)."""
        identity: Tensor = torch.eye(len(self.images), dtype=self.images.dtype)
        return identity - self.inside

    @cached_property
    def solution(self) -> Tensor:
        """W* = Y Xᵀ (X Xᵀ)⁺ (p, d), the minimum-norm solution of the task."""
        return self.target @ self.inverse

    @cached_property
    def anchor_error(self) -> Tensor:
        """W_0 P - W* (p, d): offset of the start from the task's solution inside the task subspace."""
        return self.start @ self.inside - self.solution


def draw_problem(seed: int, image_size: int = 12, samples: int = 16, rank: int = 6, features: int = 5) -> Problem:
    """Draw a random problem whose images span ``rank`` dimensions, with singular values between :data:`SPECTRUM`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left = torch.linalg.qr(normal(image_size, rank))[0]
    right = torch.linalg.qr(normal(samples, rank))[0]
    images = left @ torch.diag(torch.linspace(*SPECTRUM, rank, dtype=torch.float64)) @ right.T
    target = contrastive_target(normal(features, image_size), normal(image_size, samples)) / samples
    return Problem(images, target, 3.0 * normal(features, image_size))


# -- Theorem 3.2 ----------------------------------------------------------------------------------------------------


def direct(problem: Problem) -> Tensor:
    """W_0 (I - P) + W* (p, d): fine-tuning without regularisation, R = 0 (Theorem 3.2)."""
    return problem.start @ problem.outside + problem.solution


def l2_sp(problem: Problem, strength: float) -> Tensor:
    """(Y Xᵀ + lambda W_0)(X Xᵀ + lambda I)⁻¹ (p, d): R = lambda/2 ‖W - W_0‖² (Theorem 3.2)."""
    images = problem.images
    gram = images @ images.T + strength * torch.eye(len(images), dtype=images.dtype)
    weights: Tensor = torch.linalg.solve(gram, problem.target @ images.T + strength * problem.start, left=False)
    return weights


def static_distillation(problem: Problem, strength: float) -> Tensor:
    """W_0 (I - P/(1+lambda)) + W*/(1+lambda) (p, d): R = lambda/2 ‖W X - W_0 X‖² (Theorem 3.2)."""
    return distilled(problem, strength, problem.start, problem.start)


def distilled(problem: Problem, strength: float, weights: Tensor, teacher: Tensor) -> Tensor:
    """One exact minimisation of ½ ‖W X - Y‖² + lambda/2 ‖W X - teacher X‖² from ``weights`` (Proposition C.7).

    Returns:
        weights (I - P) + lambda/(1+lambda) teacher P + W*/(1+lambda), (p, d).
    """
    pulled = (strength * teacher @ problem.inside + problem.solution) / (1.0 + strength)
    return weights @ problem.outside + pulled


# -- gradient descent -----------------------------------------------------------------------------------------------

Penalty = Callable[[Tensor], Tensor]
"""Function from W (p, d) to R(W) ()."""


def no_penalty(weights: Tensor) -> Tensor:
    """R = 0."""
    return 0.0 * weights.sum()


def distance_penalty(problem: Problem, strength: float) -> Penalty:
    """R(W) = lambda/2 ‖W - W_0‖², the penalty of L2-SP."""
    return lambda weights: 0.5 * strength * (weights - problem.start).square().sum()


def output_penalty(problem: Problem, strength: float, teacher: Tensor) -> Penalty:
    """R(W) = lambda/2 ‖W X - teacher X‖², the penalty of self-distillation; teacher (p, d)."""
    return lambda weights: 0.5 * strength * ((weights - teacher) @ problem.images).square().sum()


def objective(problem: Problem, penalty: Penalty, weights: Tensor) -> Tensor:
    """½ ‖W X - Y‖² + R(W), ()."""
    return 0.5 * (weights @ problem.images - problem.target).square().sum() + penalty(weights)


def step_size(problem: Problem, strength: float) -> float:
    """Inverse of the largest curvature of any of the objectives with that lambda."""
    largest = float(torch.linalg.matrix_norm(problem.images, 2)) ** 2
    return 1.0 / ((1.0 + strength) * max(largest, 1.0))


def gradient_descent(problem: Problem, penalty: Penalty, start: Tensor, rate: float) -> Tensor:
    """Run gradient descent from ``start`` (p, d), by autograd, until the gradient vanishes.

    Raises:
        ValueError: the gradient does not vanish within :data:`MAX_STEPS`.
    """
    weights, first = start.clone().requires_grad_(), None
    for _ in range(MAX_STEPS):
        (gradient,) = torch.autograd.grad(objective(problem, penalty, weights), weights)
        size = float(gradient.norm())
        first = size if first is None else first
        if size <= TOLERANCE * first:
            return weights.detach()
        weights = (weights - rate * gradient).detach().requires_grad_()
    raise ValueError(f"no minimum within {MAX_STEPS} steps of rate {rate}; choose a smaller rate")


def descent_path(problem: Problem, steps: int, rate: float) -> Tensor:
    """Students (steps + 1, p, d) of direct fine-tuning by gradient descent with a constant rate."""
    weights, path = problem.start, [problem.start]
    for _ in range(steps):
        weights = weights - rate * (weights @ problem.images - problem.target) @ problem.images.T
        path.append(weights)
    return torch.stack(path)


def line_path(problem: Problem, steps: int, kept: float) -> Tensor:
    """Students W_0 + (1 - kept^k) U (steps + 1, p, d), where W_0 + U is the end of direct fine-tuning."""
    times = torch.arange(steps + 1, dtype=problem.start.dtype)[:, None, None]
    return problem.start + (1.0 - kept**times) * (direct(problem) - problem.start)


# -- teachers along a path of students ------------------------------------------------------------------------------


def wma(kernel: Kernel) -> TeacherFactory:
    """Teacher that averages the whole trajectory (Definition 3.3)."""
    return lambda student, total: WMATeacher(student, kernel, total)


def update_counting_wma(kernel: Kernel) -> TeacherFactory:
    """Trajectory average with the clock of the official code, which counts updates instead of optimizer steps."""
    return lambda student, total: WMATeacher(student, kernel, total, clock_counts_updates=True)


def ema(momentum: float) -> TeacherFactory:
    """Exponential moving average with constant momentum."""
    return lambda student, total: EMATeacher(student, momentum, total_steps=total)


def encoder(weights: Tensor) -> nn.Linear:
    """Trainable projection with a copy of ``weights`` (p, d)."""
    module = nn.Linear(weights.shape[1], weights.shape[0], bias=False, dtype=weights.dtype)
    set_weights(module, weights)
    return module


@torch.no_grad()
def set_weights(module: nn.Linear, weights: Tensor) -> None:
    """Copy ``weights`` (p, d) into the encoder."""
    module.weight.copy_(weights)


def teacher_weights(teacher: AveragedTeacher) -> Tensor:
    """Copy of the teacher's weights (p, d)."""
    return teacher.module.get_parameter("weight").detach().clone()


def teacher_path(path: Tensor, make_teacher: TeacherFactory) -> Tensor:
    """Teachers (T + 1, p, d) that are updated at every step with the students ``path`` (T + 1, p, d)."""
    student = encoder(path[0])
    teacher = make_teacher(student, len(path) - 1)
    teachers = [teacher_weights(teacher)]
    for weights in path[1:]:
        set_weights(student, weights)
        teacher.update(student)
        teachers.append(teacher_weights(teacher))
    return torch.stack(teachers)


class Distillation(NamedTuple):
    """Students and teachers of a run of T steps, including the initial ones."""

    students: Tensor
    """Weights W_t, (T + 1, p, d)."""
    teachers: Tensor
    """Weights of the teachers, (T + 1, p, d)."""


def self_distillation(problem: Problem, strength: float, make_teacher: TeacherFactory, steps: int) -> Distillation:
    """Alternate one exact minimisation and one update of the teacher (Proposition C.7)."""
    student = encoder(problem.start)
    teacher = make_teacher(student, steps)
    students, teachers = [problem.start], [teacher_weights(teacher)]
    for _ in range(steps):
        students.append(distilled(problem, strength, students[-1], teachers[-1]))
        set_weights(student, students[-1])
        teacher.update(student)
        teachers.append(teacher_weights(teacher))
    return Distillation(torch.stack(students), torch.stack(teachers))


def snapshot_weights(make_teacher: TeacherFactory, steps: int, every: int = 1) -> Tensor:
    """Weights omega_{k|T} of the students in the final teacher, theta_0 first (steps // every + 1,).

    The k-th student is the k-th unit vector, so the teacher after T steps is the vector of its weights.
    """
    students = torch.eye(steps // every + 1, dtype=torch.float64)
    student = encoder(students[:1])
    teacher = make_teacher(student, steps)
    for number in range(1, len(students)):
        set_weights(student, students[number : number + 1])
        teacher.update(student, number * every)
    return teacher_weights(teacher)[0]


def kernel_weights(kernel: Kernel, steps: int) -> Tensor:
    """alpha_k = kernel((k + 0.5)/(T + 1)) for k = 0 ... T (T + 1,) (eq. 15), computed without a teacher."""
    return torch.tensor([weight_at(kernel, k, steps) for k in range(steps + 1)], dtype=torch.float64)


def step_shares(kernel: Kernel, steps: int) -> Tensor:
    """omega_t = alpha_t / sum_{j<=t} alpha_j for t = 0 ... T (T + 1,), omega_0 = 1, computed without a teacher."""
    weights = kernel_weights(kernel, steps)
    return weights / weights.cumsum(0)


def frobenius_norms(path: Tensor) -> Tensor:
    """Frobenius norms (T + 1,) of (T + 1, p, d)."""
    norms: Tensor = torch.linalg.vector_norm(path.flatten(1), dim=1)
    return norms
