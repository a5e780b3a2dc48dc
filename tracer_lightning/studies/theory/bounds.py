"""What TRACER's theory bounds with its theorems: C.6's gradient, Corollary C.9's rate, Proposition C.10's error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.autograd.functional import hvp

from tracer_lightning.functional.similarity import kl_divergence
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.checks import BETAS, EXACT, MOMENTUM, STEPS, STRENGTH, Check, below
from tracer_lightning.studies.theory.linear import Penalty, Problem
from tracer_lightning.studies.theory.paths import alphas, ema, follow, self_distillation, shares, sizes, wma

APPROACH = 0.8
"""Share of the way still to go that a student on a line keeps at each step."""


def gradient_at(penalty: Penalty, weights: Tensor) -> Tensor:
    """The penalty's gradient (p, d) by autograd."""
    weights = weights.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(weights), weights)
    return gradient


def second_derivative(penalty: Penalty, weights: Tensor, direction: Tensor) -> Tensor:
    """The penalty's Hessian at ``weights`` times ``direction``, (p, d)."""
    product: Tensor = hvp(penalty, weights, direction)[1]  # type: ignore[no-untyped-call]
    return product


def curvature(penalty: Penalty, weights: Tensor, direction: Tensor) -> float:
    """The penalty's second derivative at ``weights`` along the unit of ``direction`` U: mu of C.6 on span{U}."""
    unit = direction / direction.norm()
    return float((unit * second_derivative(penalty, weights, unit)).sum())


def divergence_penalty(problem: Problem, teacher: Tensor) -> Penalty:
    """R(W) = mean over images of KL(softmax(teacher x) ‖ softmax(W x)) over the features."""
    return lambda weights: kl_divergence((teacher @ problem.images).T, (weights @ problem.images).T)


def first_share(beta: float) -> float:
    """omega_{0|T}, summed apart from the teacher."""
    weights = alphas(BetaKernel(beta), STEPS)
    return float(weights[0] / weights.sum())


def persistent_gradient(problem: Problem) -> Iterator[Check]:
    """Theorem C.6's gradient bound on a line, and where it is met: a jump along one direction of the images."""
    line = theory.line_path(problem, STEPS, APPROACH)
    left, _, _ = torch.linalg.svd(problem.images)
    along = torch.outer(torch.ones(len(problem.start), dtype=left.dtype), left[:, 0])
    jump = torch.cat([problem.start[None], (problem.start + along).expand(STEPS, -1, -1)])
    for beta in BETAS:
        on_line, at_jump = (pull(problem, path, beta) for path in (line, jump))
        claim = f"C.6's gradient bound, Beta {beta:g}"
        bound = f">= mu omega_0|T, {on_line[1]:.2e}"
        yield Check(claim, f"on a line, per unit of way, {on_line[0]:.2e}", bound, on_line[0] >= on_line[1])
        off = abs(at_jump[0] / at_jump[1] - 1)
        yield below(f"C.6's gradient bound is met, Beta {beta:g}", "jump: gradient/bound off 1 by", off, 1e-9)
    teacher = follow(line, ema(MOMENTUM))[-1]
    left_over = gradient_at(theory.output_penalty(problem, STRENGTH, teacher), line[-1]).norm()
    size = float(left_over / (line[-1] - line[0]).norm())
    yield below("EMA's gradient vanishes", f"per unit of way, in {STEPS} steps", size, 1e-12)


def pull(problem: Problem, path: Tensor, beta: float) -> tuple[float, float]:
    """Norm of self-distillation's gradient at the end of a path (T + 1, p, d), and its bound, per unit of way."""
    teacher, way = follow(path, wma(BetaKernel(beta)))[-1], path[-1] - path[0]
    penalty = theory.output_penalty(problem, STRENGTH, teacher)
    gradient = float(gradient_at(penalty, path[-1]).norm() / way.norm())
    return gradient, curvature(penalty, teacher, way) * first_share(beta)


def persistent_divergence(problem: Problem) -> Iterator[Check]:
    """C.6's bound less the residual, ‖g‖ >= mu omega_{0|T} ‖W_T - W_0‖ - ‖r_T‖, for a loss that is not quadratic."""
    line = theory.line_path(problem, STEPS, APPROACH)
    for beta in BETAS:
        teacher, way = follow(line, wma(BetaKernel(beta)))[-1], line[-1] - line[0]
        penalty = divergence_penalty(problem, teacher)
        gradient = gradient_at(penalty, line[-1])
        residual = (gradient - second_derivative(penalty, teacher, line[-1] - teacher)).norm()
        signal = curvature(penalty, teacher, way) * first_share(beta) * way.norm()
        size, bound = float(gradient.norm()), float(signal - residual)
        claim = f"C.6's gradient bound for a KL, Beta {beta:g}"
        shown = f">= signal - residual {bound:.2e}"
        yield Check(claim, f"on a line {size:.2e}", shown, size >= bound > 0)


def linear_rate(problem: Problem) -> Iterator[Check]:
    """Corollary C.9: ‖E_t‖ <= (1 - omega_min/(1+lambda))^t ‖E_0‖, and the excess loss falls twice as fast."""
    worst_loss = 0.0
    times = torch.arange(STEPS + 1, dtype=torch.float64)
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        least = float(shares(BetaKernel(beta), STEPS)[1:].min())
        rate = 1.0 - least / (1.0 + STRENGTH)
        worst = float((teacher_errors(problem, run.teachers) / rate**times)[1:].max())
        claim = f"Corollary C.9, linear rate, Beta {beta:g}"
        yield Check(claim, f"E_t/bound at most {worst:.4f}", f"<= 1 with omega_min {least:.1e}", worst <= 1.0)
        losses = torch.stack([theory.objective(problem, theory.no_penalty, student) for student in run.students[1:]])
        above = losses - theory.objective(problem, theory.no_penalty, problem.solution)
        worst_loss = max(worst_loss, float((above[1:] / above[0] / rate ** (2 * times[1:-1])).max()))
    claim = "C.9, the loss falls at least geometrically"
    yield Check(claim, f"all kernels: loss/bound at most {worst_loss:.4f}", "<= 1", worst_loss <= 1.0)
    run = self_distillation(problem, STRENGTH, ema(MOMENTUM), STEPS)
    met = (1.0 - (1.0 - MOMENTUM) / (1.0 + STRENGTH)) ** times
    off = float((teacher_errors(problem, run.teachers) - met).abs().max())
    yield below("C.9 is met by a constant omega_t (EMA 0.9)", f"off in {STEPS} steps", off, EXACT)


def teacher_errors(problem: Problem, teachers: Tensor) -> Tensor:
    """‖E_t‖ / ‖E_0‖ (T + 1,) of teachers (T + 1, p, d)."""
    errors = sizes((teachers - problem.solution) @ problem.inside)
    return errors / errors[0]


def dominance(problem: Problem) -> Iterator[Check]:
    """Proposition C.10: with no teacher farther from W* than W_0, no student is farther from it than static SD's."""
    static = ((theory.static_distillation(problem, STRENGTH) - problem.solution) @ problem.inside).norm()
    deviation = 0.0
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        teachers = teacher_errors(problem, run.teachers)
        squared = (sizes((run.students[1:] - problem.solution) @ problem.inside) / static) ** 2  # (T,)
        deviation = max(deviation, float((squared - teachers[:-1] ** 2).abs().max()))
        largest, last = float(squared[1:].max()), float(squared[-1])
        holds = float(teachers.max()) <= 1.0 and largest < 1.0
        claim = f"Proposition C.10, below static SD, Beta {beta:g}"
        yield Check(claim, f"squared error, share: {largest:.3f} .. {last:.3f}", "< 1 from t = 2", holds)
    yield below("C.10, the share is ‖E_t-1‖²/‖E_0‖²", "all four kernels: off by", deviation, EXACT)


BOUNDS: tuple[Callable[[Problem], Iterator[Check]], ...] = (
    persistent_gradient,
    persistent_divergence,
    linear_rate,
    dominance,
)
