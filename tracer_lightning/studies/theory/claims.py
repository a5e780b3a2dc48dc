"""Every claim of TRACER's theory as a measurement against its bound.

:data:`CLAIMS` holds what the theorems state, :data:`ASSUMPTIONS` premises without which C.6, C.8, C.10 and the collapse
of EMA fail, and :data:`GAPS` what the theory does not cover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.functional import hvp

from tracer_lightning.functional.contrastive import symmetric_cross_entropy
from tracer_lightning.functional.similarity import kl_divergence
from tracer_lightning.kernels import BetaKernel, ExponentialKernel, Kernel, UniformKernel
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.linear import (
    Penalty,
    Problem,
    ema,
    encoder,
    frobenius_norms,
    kernel_weights,
    self_distillation,
    snapshot_weights,
    step_shares,
    teacher_path,
    update_counting_wma,
    wma,
)

STRENGTH = 0.9
"""lambda of the paper's runs."""
BETAS = (0.2, 0.5, 1.0, 1.5)
MOMENTUM = 0.9
CLOSE = 1e-6
"""Relative tolerance of limits and of comparisons with gradient descent."""
EXACT = 1e-13
"""Tolerance of identities relative to the initial weights: some hundred roundings of a double."""
STEPS = 300
HORIZONS = (10, 100, 1000)
APPROACH = 0.8
"""Share of the remaining distance that a student on a line keeps at each step."""
LONG, RARE = 25_000, 500
"""Approximate number of optimizer steps of the paper's ImageNet run, and its update interval."""


class Check(NamedTuple):
    """A claim, what was measured for it, and whether it holds; all texts are ready for a table."""

    claim: str
    measured: str
    bound: str
    holds: bool


def check_at_most(claim: str, description: str, value: float, bound: float) -> Check:
    """Check that ``value`` is at most ``bound``."""
    return Check(claim, f"{description} {value:.1e}", f"<= {bound:.0e}", value <= bound)


def relative_distance(actual: Tensor, expected: Tensor) -> float:
    """Frobenius distance relative to the norm of ``expected``, for tensors of the same shape."""
    return float((actual - expected).norm() / expected.norm())


def target(problem: Problem) -> Iterator[Check]:
    """At W = 0 the gradient of the InfoNCE loss with respect to the image features is -Y / n²."""
    generator = torch.Generator().manual_seed(0)
    weights, texts = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    features = torch.zeros(5, 7, dtype=torch.float64, requires_grad=True)  # (p, n)
    logits = features.T @ (weights[:, :5] @ texts)
    loss = symmetric_cross_entropy(logits, logits.T, torch.arange(7))
    (gradient,) = torch.autograd.grad(loss, features)
    deviation = relative_distance(-(7**2) * gradient, theory.contrastive_target(weights[:, :5], texts))
    yield check_at_most("Y = W_T X_T (n I - J) is InfoNCE's pull at zero", "-n² gradient against Y:", deviation, EXACT)


def closed_forms(problem: Problem) -> Iterator[Check]:
    """Theorem 3.2 against gradient descent, and its consequences for the minima that descent reaches."""
    start, rate = problem.start, theory.step_size(problem, STRENGTH)
    cases = {
        "direct": (theory.no_penalty, theory.direct(problem)),
        "L2-SP": (theory.distance_penalty(problem, STRENGTH), theory.l2_sp(problem, STRENGTH)),
        "static SD": (
            theory.output_penalty(problem, STRENGTH, start),
            theory.static_distillation(problem, STRENGTH),
        ),
    }
    ends = {name: theory.gradient_descent(problem, penalty, start, rate) for name, (penalty, _) in cases.items()}
    for name, (_, form) in cases.items():
        yield check_at_most(
            f"Theorem 3.2, {name}", "closed form against descent:", relative_distance(form, ends[name]), CLOSE
        )
    largest_move = max(float(((end - start) @ problem.outside).norm() / start.norm()) for end in ends.values())
    yield check_at_most("outside the task subspace nothing moves", "largest move of the three:", largest_move, EXACT)
    bias = (ends["static SD"] - problem.solution) @ problem.inside
    expected = STRENGTH / (1 + STRENGTH) * problem.anchor_error
    yield check_at_most(
        "static SD's bias is lambda/(1+lambda)(W_0 P - W*)", "off by", relative_distance(bias, expected), CLOSE
    )
    left, values, _ = torch.linalg.svd(problem.images)
    kept = values[values > theory.SPECTRUM[1] / 2]
    error = (ends["L2-SP"] - problem.solution) @ left[:, : len(kept)]
    expected = STRENGTH / (STRENGTH + kept.square()) * (problem.anchor_error @ left[:, : len(kept)])
    yield check_at_most(
        "L2-SP's bias is lambda/(lambda+sigma²) by direction", "off by", relative_distance(error, expected), CLOSE
    )


def limits(problem: Problem) -> Iterator[Check]:
    """Limits of L2-SP for lambda -> 0 and infinity, of the closed form only: gradient descent would not finish."""
    weak = relative_distance(theory.l2_sp(problem, 1e-9), theory.direct(problem))
    strong = relative_distance(theory.l2_sp(problem, 1e9), problem.start)
    yield check_at_most("L2-SP tends to direct as lambda -> 0", "at 1e-9 off by", weak, CLOSE)
    yield check_at_most("L2-SP tends to W_0 as lambda -> infinity", "at 1e9 off by", strong, CLOSE)


def iteration(problem: Problem) -> Iterator[Check]:
    """Proposition C.7: each step of SD-WMA against gradient descent from the previous step."""
    rate, steps = theory.step_size(problem, STRENGTH), 5
    run, deviation = self_distillation(problem, STRENGTH, wma(BetaKernel()), steps), 0.0
    for t in range(1, steps + 1):
        penalty = theory.output_penalty(problem, STRENGTH, run.teachers[t - 1])
        minimum = theory.gradient_descent(problem, penalty, run.students[t - 1], rate)
        deviation = max(deviation, relative_distance(run.students[t], minimum))
    yield check_at_most("Proposition C.7, SD-WMA step by step", f"{steps} steps against descent:", deviation, CLOSE)


def contraction(problem: Problem) -> Iterator[Check]:
    """Theorem C.8 for each kernel, with omega_t computed independently of the teacher."""
    scale, student_deviation, largest_move = problem.anchor_error.norm(), 0.0, 0.0
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        errors = (run.teachers - problem.solution) @ problem.inside  # E_t (T + 1, p, d)
        factors = 1.0 - step_shares(BetaKernel(beta), STEPS)[1:, None, None] / (1.0 + STRENGTH)
        deviation = float(frobenius_norms(errors[1:] - factors * errors[:-1]).max() / scale)
        yield check_at_most(f"Theorem C.8, E_t contracts, Beta {beta:g}", f"off in {STEPS} steps", deviation, EXACT)
        students = (run.students[1:] - problem.solution) @ problem.inside
        deviation = float(frobenius_norms(students - STRENGTH / (1 + STRENGTH) * errors[:-1]).max() / scale)
        student_deviation = max(student_deviation, deviation)
        sideways = frobenius_norms((run.students - problem.start) @ problem.outside).max()
        largest_move = max(largest_move, float(sideways / problem.start.norm()))
    yield check_at_most(
        "C.8, (W_t - W*)P = lambda/(1+lambda) E_t-1", "all four kernels: off by", student_deviation, EXACT
    )
    yield check_at_most(
        "SD-WMA moves nothing outside the subspace", "all four kernels: largest move", largest_move, EXACT
    )


def convergence(problem: Problem) -> Iterator[Check]:
    """SD-WMA converges to W* as T grows, between omega_{0|T}^(1/(1+lambda)) and exp(-sum omega_t/(1+lambda))."""
    for beta in BETAS:
        errors, lower, upper = [], [], []
        for steps in HORIZONS:
            run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), steps)
            error = (run.teachers[-1] - problem.solution) @ problem.inside
            errors.append(float(error.norm() / problem.anchor_error.norm()))
            weights = step_shares(BetaKernel(beta), steps)[1:]
            lower.append(float((1.0 - weights).prod() ** (1.0 / (1.0 + STRENGTH))))
            upper.append(math.exp(-float(weights.sum()) / (1.0 + STRENGTH)))
        measured = ", ".join(f"{error:.3f}" for error in errors)
        within = all(a <= b <= c for a, b, c in zip(lower, errors, upper, strict=True))
        falls = errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 2
        claim = f"C.8, E_T -> 0 with T, Beta {beta:g}"
        bounds = f"{lower[-1]:.3f} .. {upper[-1]:.3f} at the last"
        yield Check(claim, f"T = 10, 100, 1000: {measured}", bounds, within and falls)


def persistence(problem: Problem) -> Iterator[Check]:
    """Theorem C.6 along gradient descent, and on a path that attains the bound by moving in the first step only."""
    descent = theory.descent_path(problem, STEPS, theory.step_size(problem, 0.0))
    jump = torch.cat([problem.start[None], theory.direct(problem).expand(STEPS, -1, -1)])
    for beta in BETAS:
        first = first_share(beta)
        descended, jumped = (gap(path, beta) for path in (descent, jump))
        claim = f"Theorem C.6, WMA's gap, Beta {beta:g}"
        yield Check(claim, f"on descent {descended:.2e}", f">= omega_0|T {first:.2e}", descended >= first)
        yield check_at_most(f"C.6 is met by a jump, Beta {beta:g}", "gap/bound off 1 by", abs(jumped / first - 1), 1e-9)


def gap(path: Tensor, beta: float) -> float:
    """Relative gap ‖W_T - WMA_T‖ / ‖W_T - W_0‖ at the end of a path (T + 1, p, d)."""
    teacher = teacher_path(path, wma(BetaKernel(beta)))[-1]
    return float((path[-1] - teacher).norm() / (path[-1] - path[0]).norm())


def collapse(problem: Problem) -> Iterator[Check]:
    """An EMA's gap to a student with W_t = W_0 + (1 - r^t) U: m (1 - r)(m^t - r^t)/(m - r) ‖U‖."""
    displacement, rate, m = theory.direct(problem) - problem.start, 0.8, MOMENTUM
    times = torch.arange(STEPS + 1, dtype=torch.float64)
    path = theory.line_path(problem, STEPS, rate)
    gaps = frobenius_norms(path - teacher_path(path, ema(m))) / displacement.norm()
    expected = m * (1.0 - rate) * (m**times - rate**times) / (m - rate)
    yield check_at_most("EMA's gap in closed form", "largest deviation", float((gaps - expected).abs().max()), EXACT)
    decay = float((gaps[200] / gaps[100]) ** (1 / 100))
    yield check_at_most("EMA's gap decays geometrically, by m = 0.9 a step", "ratio off by", abs(decay - m), CLOSE)
    yield check_at_most("EMA's gap vanishes", f"after {STEPS} steps", float(gaps[-1]), 1e-12)


def equivalence(problem: Problem) -> Iterator[Check]:
    """An EMA of momentum m is the WMA with alpha_t = (1-m)/m^t alpha_0."""
    path = theory.descent_path(problem, STEPS, theory.step_size(problem, 0.0))

    def kernel(progress: float) -> float:
        step = round(progress * (STEPS + 1) - 0.5)
        return 1.0 if step == 0 else (1.0 - MOMENTUM) / MOMENTUM**step

    deviation = (
        frobenius_norms(teacher_path(path, wma(kernel)) - teacher_path(path, ema(MOMENTUM))).max()
        / problem.start.norm()
    )
    yield check_at_most(
        "EMA is the WMA of alpha_t = (1-m)/m^t alpha_0", f"apart in {STEPS} steps", float(deviation), EXACT
    )


# -- bounds: C.6's gradient, Corollary C.9's rate, Proposition C.10's error --------------------------------------------


def gradient_at(penalty: Penalty, weights: Tensor) -> Tensor:
    """Gradient (p, d) of the penalty by autograd."""
    weights = weights.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(weights), weights)
    return gradient


def second_derivative(penalty: Penalty, weights: Tensor, direction: Tensor) -> Tensor:
    """Hessian of the penalty at ``weights`` times ``direction``, (p, d)."""
    product: Tensor = hvp(penalty, weights, direction)[1]  # type: ignore[no-untyped-call]
    return product


def curvature(penalty: Penalty, weights: Tensor, direction: Tensor) -> float:
    """Second derivative of the penalty at ``weights`` along the unit of ``direction`` U: mu of C.6 on span{U}."""
    unit = direction / direction.norm()
    return float((unit * second_derivative(penalty, weights, unit)).sum())


def divergence_penalty(problem: Problem, teacher: Tensor) -> Penalty:
    """R(W) = mean over images of KL(softmax(teacher x) ‖ softmax(W x)) over the features."""
    return lambda weights: kl_divergence((teacher @ problem.images).T, (weights @ problem.images).T)


def first_share(beta: float) -> float:
    """omega_{0|T}, computed independently of the teacher."""
    weights = kernel_weights(BetaKernel(beta), STEPS)
    return float(weights[0] / weights.sum())


def persistent_gradient(problem: Problem) -> Iterator[Check]:
    """Theorem C.6's gradient bound on a line, and where it is attained: a jump along one direction of the images."""
    line = theory.line_path(problem, STEPS, APPROACH)
    left, _, _ = torch.linalg.svd(problem.images)
    along = torch.outer(torch.ones(len(problem.start), dtype=left.dtype), left[:, 0])
    jump = torch.cat([problem.start[None], (problem.start + along).expand(STEPS, -1, -1)])
    for beta in BETAS:
        on_line, at_jump = (gradient_and_bound(problem, path, beta) for path in (line, jump))
        claim = f"C.6's gradient bound, Beta {beta:g}"
        bound = f">= mu omega_0|T, {on_line[1]:.2e}"
        yield Check(claim, f"on a line, per unit of way, {on_line[0]:.2e}", bound, on_line[0] >= on_line[1])
        deviation = abs(at_jump[0] / at_jump[1] - 1)
        yield check_at_most(
            f"C.6's gradient bound is met, Beta {beta:g}", "jump: gradient/bound off 1 by", deviation, 1e-9
        )
    teacher = teacher_path(line, ema(MOMENTUM))[-1]
    gradient = gradient_at(theory.output_penalty(problem, STRENGTH, teacher), line[-1]).norm()
    size = float(gradient / (line[-1] - line[0]).norm())
    yield check_at_most("EMA's gradient vanishes", f"per unit of way, in {STEPS} steps", size, 1e-12)


def gradient_and_bound(problem: Problem, path: Tensor, beta: float) -> tuple[float, float]:
    """Self-distillation's gradient norm at the end of a path (T + 1, p, d) and its bound, per unit of displacement."""
    teacher, displacement = teacher_path(path, wma(BetaKernel(beta)))[-1], path[-1] - path[0]
    penalty = theory.output_penalty(problem, STRENGTH, teacher)
    gradient = float(gradient_at(penalty, path[-1]).norm() / displacement.norm())
    return gradient, curvature(penalty, teacher, displacement) * first_share(beta)


def persistent_divergence(problem: Problem) -> Iterator[Check]:
    """C.6's bound minus the residual, ‖g‖ >= mu omega_{0|T} ‖W_T - W_0‖ - ‖r_T‖, for a loss that is not quadratic."""
    line = theory.line_path(problem, STEPS, APPROACH)
    for beta in BETAS:
        teacher, displacement = teacher_path(line, wma(BetaKernel(beta)))[-1], line[-1] - line[0]
        penalty = divergence_penalty(problem, teacher)
        gradient = gradient_at(penalty, line[-1])
        residual = (gradient - second_derivative(penalty, teacher, line[-1] - teacher)).norm()
        signal = curvature(penalty, teacher, displacement) * first_share(beta) * displacement.norm()
        size, bound = float(gradient.norm()), float(signal - residual)
        claim = f"C.6's gradient bound for a KL, Beta {beta:g}"
        yield Check(claim, f"on a line {size:.2e}", f">= signal - residual {bound:.2e}", size >= bound > 0)


def linear_rate(problem: Problem) -> Iterator[Check]:
    """Corollary C.9: ‖E_t‖ <= (1 - omega_min/(1+lambda))^t ‖E_0‖, and the excess loss falls twice as fast."""
    worst_loss = 0.0
    times = torch.arange(STEPS + 1, dtype=torch.float64)
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        smallest = float(step_shares(BetaKernel(beta), STEPS)[1:].min())
        rate = 1.0 - smallest / (1.0 + STRENGTH)
        worst = float((teacher_errors(problem, run.teachers) / rate**times)[1:].max())
        claim = f"Corollary C.9, linear rate, Beta {beta:g}"
        yield Check(claim, f"E_t/bound at most {worst:.4f}", f"<= 1 with omega_min {smallest:.1e}", worst <= 1.0)
        losses = torch.stack([theory.objective(problem, theory.no_penalty, student) for student in run.students[1:]])
        excess = losses - theory.objective(problem, theory.no_penalty, problem.solution)
        worst_loss = max(worst_loss, float((excess[1:] / excess[0] / rate ** (2 * times[1:-1])).max()))
    claim = "C.9, the loss falls at least geometrically"
    yield Check(claim, f"all kernels: loss/bound at most {worst_loss:.4f}", "<= 1", worst_loss <= 1.0)
    run = self_distillation(problem, STRENGTH, ema(MOMENTUM), STEPS)
    bound = (1.0 - (1.0 - MOMENTUM) / (1.0 + STRENGTH)) ** times
    deviation = float((teacher_errors(problem, run.teachers) - bound).abs().max())
    yield check_at_most("C.9 is met by a constant omega_t (EMA 0.9)", f"off in {STEPS} steps", deviation, EXACT)


def teacher_errors(problem: Problem, teachers: Tensor) -> Tensor:
    """Relative errors ‖E_t‖ / ‖E_0‖ (T + 1,) of teachers (T + 1, p, d)."""
    errors = frobenius_norms((teachers - problem.solution) @ problem.inside)
    return errors / errors[0]


def dominance(problem: Problem) -> Iterator[Check]:
    """Proposition C.10: if no teacher is farther from W* than W_0, no student is farther from it than static SD's."""
    static = ((theory.static_distillation(problem, STRENGTH) - problem.solution) @ problem.inside).norm()
    deviation = 0.0
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        teachers = teacher_errors(problem, run.teachers)
        squared = (frobenius_norms((run.students[1:] - problem.solution) @ problem.inside) / static) ** 2  # (T,)
        deviation = max(deviation, float((squared - teachers[:-1] ** 2).abs().max()))
        largest, last = float(squared[1:].max()), float(squared[-1])
        holds = float(teachers.max()) <= 1.0 and largest < 1.0
        claim = f"Proposition C.10, below static SD, Beta {beta:g}"
        yield Check(claim, f"squared error, share: {largest:.3f} .. {last:.3f}", "< 1 from t = 2", holds)
    yield check_at_most("C.10, the share is ‖E_t-1‖²/‖E_0‖²", "all four kernels: off by", deviation, EXACT)


# -- what the theorems assume, and what they leave out -----------------------------------------------------------------


def without_start(kernel: Kernel, steps: int) -> Kernel:
    """Set the kernel's alpha_0 to 0, as Algorithm 1 of the paper does by starting its sum at zero."""
    return lambda progress: 0.0 if progress < 1.0 / (steps + 1) else kernel(progress)


def overshoot(problem: Problem) -> Iterator[Check]:
    """C.6 on the path W_0, W_0 + 2U, W_0 + U: the uniform average is where the student ends."""
    direction = theory.direct(problem) - problem.start
    path = torch.stack([problem.start, problem.start + 2 * direction, problem.start + direction])
    distance = float((path[-1] - teacher_path(path, wma(UniformKernel()))[-1]).norm() / direction.norm())
    claim = "C.6 needs a path that does not overshoot"
    yield Check(claim, f"0, 2U, U: gap {distance:.1e}", "below omega_0|T = 1/3", distance < 1 / 3)


def flat_direction(problem: Problem) -> Iterator[Check]:
    """C.6's gradient on a path outside the task subspace, where self-distillation has no curvature."""
    end = problem.start + problem.start @ problem.outside
    sideways = torch.cat([problem.start[None], end.expand(STEPS, -1, -1)])
    gradient, bound = gradient_and_bound(problem, sideways, 0.5)
    claim = "C.6's gradient bound needs curvature along the path"
    measured = f"gradient {gradient:.1e}, mu {bound / first_share(0.5):.1e}"
    yield Check(claim, measured, f"gap as ever, {gap(sideways, 0.5):.1e}", gradient < 1e-12 < gap(sideways, 0.5))


def summable_weights(problem: Problem) -> Iterator[Check]:
    """C.8 with alpha_k = 2^-k, whose omega_t have a finite sum: the error does not vanish."""
    remaining = []
    for steps in HORIZONS[:2]:
        kernel = ExponentialKernel(-(steps + 1) * math.log(2.0))
        run = self_distillation(problem, STRENGTH, wma(kernel), steps)
        error = (run.teachers[-1] - problem.solution) @ problem.inside
        remaining.append(float(error.norm() / problem.anchor_error.norm()))
    measured = f"T = 10, 100: {remaining[0]:.4f}, {remaining[1]:.4f}"
    holds = remaining[1] > 0.5 and abs(remaining[1] - remaining[0]) < 1e-3
    yield Check("C.8's limit needs a diverging sum of omega_t", measured, "E_T stays (alpha_k = 2^-k)", holds)


def distant_teacher(problem: Problem) -> Iterator[Check]:
    """C.10 with a teacher that is a tenth farther from W* than W_0 is."""
    teacher = problem.solution + 1.1 * problem.anchor_error
    student = theory.distilled(problem, STRENGTH, problem.start, teacher)
    static = theory.static_distillation(problem, STRENGTH)
    errors = [((weights - problem.solution) @ problem.inside).square().sum() for weights in (student, static)]
    share = float(errors[0] / errors[1])
    claim = "C.10 needs a teacher no farther than W_0"
    yield Check(claim, f"1.1 times as far: {share:.2f} of static SD's", "> 1", share > 1.0)


def drifting_student(problem: Problem) -> Iterator[Check]:
    """An EMA of a student that moves by U at every step stays m/(1-m) U behind."""
    times = torch.arange(STEPS + 1, dtype=torch.float64)[:, None, None]
    path = problem.start + times * problem.start
    lag = float(frobenius_norms(path - teacher_path(path, ema(MOMENTUM)))[-1] / problem.start.norm())
    expected = MOMENTUM / (1 - MOMENTUM)
    claim = "EMA collapses only if the student converges"
    yield Check(claim, f"drift of U a step: gap {lag:.4f} U", "m/(1-m) = 9 U", abs(lag - expected) < 1e-6)


def algorithm_1(problem: Problem) -> Iterator[Check]:
    """C.6 with the teacher of Algorithm 1, for a student that jumps to its final weights."""
    path = torch.cat([problem.start[None], theory.direct(problem).expand(STEPS, -1, -1)])
    first = float(snapshot_weights(wma(BetaKernel()), STEPS)[0])
    teacher = teacher_path(path, wma(without_start(BetaKernel(), STEPS)))[-1]
    distance = float((path[-1] - teacher).norm() / (path[-1] - path[0]).norm())
    claim = "C.6 needs alpha_0 in the sum (Algorithm 1 has not)"
    yield Check(claim, f"jump: gap {distance:.1e}", f"below omega_0|T = {first:.1e}", distance < first)


def adaptive_optimizer(problem: Problem) -> Iterator[Check]:
    """Adam rescales each weight and so leaves the task subspace; weight decay shrinks the component outside it."""
    for decay in (0.0, 0.1):
        student = encoder(problem.start)
        optimizer = torch.optim.AdamW(student.parameters(), lr=0.03, weight_decay=decay)
        for _ in range(STEPS):
            optimizer.zero_grad()
            theory.objective(problem, theory.no_penalty, student.weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        outside = (student.weight.detach() - problem.start) @ problem.outside
        largest_move = float(outside.norm() / (problem.start @ problem.outside).norm())
        claim = f"outside P stays only without Adam (decay {decay:g})"
        yield Check(claim, f"AdamW, {STEPS} steps: moves {largest_move:.0%}", "> 1%", largest_move > 0.01)


def remaining_bias(problem: Problem) -> Iterator[Check]:
    """The bias is at least lambda/(1+lambda) omega_{0|T}^(1/(1+lambda)), so it vanishes only with C.6's bound."""
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        error = (run.students[-1] - problem.solution) @ problem.inside
        bias = float(error.norm() / problem.anchor_error.norm())
        first = float(snapshot_weights(wma(BetaKernel(beta)), STEPS)[0])
        smallest = STRENGTH / (1 + STRENGTH) * first ** (1 / (1 + STRENGTH))
        claim = f"no bias only as T -> infinity, Beta {beta:g}"
        bound = f">= {smallest:.4f} (static: {STRENGTH / (1 + STRENGTH):.3f})"
        yield Check(claim, f"student's bias at T = {STEPS}: {bias:.4f}", bound, bias >= smallest)


def rare_updates(problem: Problem) -> Iterator[Check]:
    """theta_0 represents half a step and each later snapshot N: with rare updates theta_0 weighs far more."""
    teachers = wma(BetaKernel()), update_counting_wma(BetaKernel())
    rare, counting = (snapshot_weights(make_teacher, LONG, RARE) for make_teacher in teachers)
    weights = kernel_weights(BetaKernel(), LONG)
    every_step = float(weights[0] / weights.sum())
    measured = f"{float(rare[0]):.1%} (counting updates {float(counting[0]):.1%})"
    claim = f"omega_0|T is not kept by updates every {RARE} steps"
    yield Check(claim, measured, f"every step: {every_step:.1%}, T = {LONG}", float(rare[0]) > 10 * every_step)


def horizon_dependent_rate(problem: Problem) -> Iterator[Check]:
    """C.9's bound at the end of a run: as the run's omega_min falls with T, the bound does not fall."""
    for beta in BETAS:
        smallest = [float(step_shares(BetaKernel(beta), steps)[1:].min()) for steps in HORIZONS]
        bounds = [(1.0 - low / (1.0 + STRENGTH)) ** steps for low, steps in zip(smallest, HORIZONS, strict=True)]
        measured = ", ".join(f"{bound:.2f}" for bound in bounds)
        claim = f"C.9 gives Beta {beta:g} no rate: bound on E_T/E_0"
        yield Check(claim, f"T = 10, 100, 1000: {measured}", "> 0.5 at every T", min(bounds) > 0.5)


def proof_of_dominance(problem: Problem) -> Iterator[Check]:
    """C.10's proof compares ‖lambda/(1+lambda) anchor - W*‖, which lacks W*/(1+lambda) and may rise as errors fall."""
    share = STRENGTH / (1.0 + STRENGTH)
    start, teacher = problem.solution / share, problem.solution
    compared = [float((share * anchor - problem.solution).norm()) for anchor in (start, teacher)]
    students = [theory.distilled(problem, STRENGTH, start, anchor) for anchor in (start, teacher)]
    errors = [float(((student - problem.solution) @ problem.inside).norm()) for student in students]
    measured = f"static SD {compared[0]:.1e}, teacher at W* {compared[1]:.1e}"
    falls = f"errors: {errors[0]:.1f}, {errors[1]:.1e}"
    rises = compared[1] > compared[0] and errors[1] < errors[0]
    yield Check("C.10's proof compares what is no error", measured, falls, rises)


Claim = Callable[[Problem], Iterator[Check]]
CLAIMS: tuple[Claim, ...] = (
    target,
    closed_forms,
    limits,
    iteration,
    contraction,
    convergence,
    persistence,
    collapse,
    equivalence,
    persistent_gradient,
    persistent_divergence,
    linear_rate,
    dominance,
)
ASSUMPTIONS: tuple[Claim, ...] = (overshoot, flat_direction, summable_weights, distant_teacher, drifting_student)
GAPS: tuple[Claim, ...] = (
    algorithm_1,
    adaptive_optimizer,
    rare_updates,
    remaining_bias,
    horizon_dependent_rate,
    proof_of_dominance,
)
