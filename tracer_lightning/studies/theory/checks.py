"""Each claim of TRACER's theory as a measurement with a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from tracer_lightning.functional.contrastive import symmetric_cross_entropy
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.linear import Problem
from tracer_lightning.studies.theory.paths import alphas, ema, follow, self_distillation, shares, sizes, wma

STRENGTH = 0.9
"""lambda of the paper's runs."""
BETAS = (0.2, 0.5, 1.0, 1.5)
MOMENTUM = 0.9
DESCENT = 1e-6
"""Agreement asked of gradient descent, relative."""
EXACT = 1e-13
"""Agreement asked of identities, relative to the start: some hundred roundings of a double."""
STEPS = 300
HORIZONS = (10, 100, 1000)


class Check(NamedTuple):
    """One claim."""

    claim: str
    measured: str
    bound: str
    holds: bool


def below(claim: str, what: str, value: float, bound: float) -> Check:
    """That ``value`` is at most ``bound``."""
    return Check(claim, f"{what} {value:.1e}", f"<= {bound:.0e}", value <= bound)


def distance(found: Tensor, expected: Tensor) -> float:
    """Frobenius distance relative to ``expected``; tensors of one shape."""
    return float((found - expected).norm() / expected.norm())


def target(problem: Problem) -> Iterator[Check]:
    """At W = 0 the gradient of the trained InfoNCE by the image features is -Y / n²."""
    generator = torch.Generator().manual_seed(0)
    weights, texts = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    features = torch.zeros(5, 7, dtype=torch.float64, requires_grad=True)  # (p, n)
    logits = features.T @ (weights[:, :5] @ texts)
    loss = symmetric_cross_entropy(logits, logits.T, torch.arange(7))
    (gradient,) = torch.autograd.grad(loss, features)
    off = distance(-(7**2) * gradient, theory.contrastive_target(weights[:, :5], texts))
    yield below("Y = W_T X_T (n I - J) is InfoNCE's pull at zero", "-n² gradient against Y:", off, EXACT)


def closed_forms(problem: Problem) -> Iterator[Check]:
    """Theorem 3.2 against gradient descent, and its consequences for what descent found."""
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
        yield below(f"Theorem 3.2, {name}", "closed form against descent:", distance(form, ends[name]), DESCENT)
    moved = max(float(((end - start) @ problem.outside).norm() / start.norm()) for end in ends.values())
    yield below("outside the task subspace nothing moves", "largest move of the three:", moved, EXACT)
    bias = (ends["static SD"] - problem.solution) @ problem.inside
    expected = STRENGTH / (1 + STRENGTH) * problem.anchor_error
    yield below("static SD's bias is lambda/(1+lambda)(W_0 P - W*)", "off by", distance(bias, expected), DESCENT)
    left, values, _ = torch.linalg.svd(problem.images)
    keep = values[values > theory.SPECTRUM[1] / 2]
    error = (ends["L2-SP"] - problem.solution) @ left[:, : len(keep)]
    expected = STRENGTH / (STRENGTH + keep.square()) * (problem.anchor_error @ left[:, : len(keep)])
    yield below("L2-SP's bias is lambda/(lambda+sigma²) by direction", "off by", distance(error, expected), DESCENT)


def limits(problem: Problem) -> Iterator[Check]:
    """L2-SP at its two ends; the closed form only, since descent would not finish."""
    weak = distance(theory.l2_sp(problem, 1e-9), theory.direct(problem))
    strong = distance(theory.l2_sp(problem, 1e9), problem.start)
    yield below("L2-SP tends to direct as lambda -> 0", "at 1e-9 off by", weak, DESCENT)
    yield below("L2-SP tends to W_0 as lambda -> infinity", "at 1e9 off by", strong, DESCENT)


def iteration(problem: Problem) -> Iterator[Check]:
    """Proposition C.7: each step of SD-WMA against gradient descent from the step before."""
    rate, steps = theory.step_size(problem, STRENGTH), 5
    run, off = self_distillation(problem, STRENGTH, wma(BetaKernel()), steps), 0.0
    for t in range(1, steps + 1):
        penalty = theory.output_penalty(problem, STRENGTH, run.teachers[t - 1])
        found = theory.gradient_descent(problem, penalty, run.students[t - 1], rate)
        off = max(off, distance(run.students[t], found))
    yield below("Proposition C.7, SD-WMA step by step", f"{steps} steps against descent:", off, DESCENT)


def contraction(problem: Problem) -> Iterator[Check]:
    """Theorem C.8 for each kernel, with omega_t summed apart from the teacher."""
    scale, student_off, moved = problem.anchor_error.norm(), 0.0, 0.0
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        errors = (run.teachers - problem.solution) @ problem.inside  # E_t (T + 1, p, d)
        factors = 1.0 - shares(BetaKernel(beta), STEPS)[1:, None, None] / (1.0 + STRENGTH)
        off = float(sizes(errors[1:] - factors * errors[:-1]).max() / scale)
        yield below(f"Theorem C.8, E_t contracts, Beta {beta:g}", f"off in {STEPS} steps", off, EXACT)
        students = (run.students[1:] - problem.solution) @ problem.inside
        off = float(sizes(students - STRENGTH / (1 + STRENGTH) * errors[:-1]).max() / scale)
        student_off = max(student_off, off)
        sideways = sizes((run.students - problem.start) @ problem.outside).max()
        moved = max(moved, float(sideways / problem.start.norm()))
    yield below("C.8, (W_t - W*)P = lambda/(1+lambda) E_t-1", "all four kernels: off by", student_off, EXACT)
    yield below("SD-WMA moves nothing outside the subspace", "all four kernels: largest move", moved, EXACT)


def convergence(problem: Problem) -> Iterator[Check]:
    """SD-WMA goes to W* with the horizon, between omega_{0|T}^(1/(1+lambda)) and exp(-sum omega_t/(1+lambda))."""
    for beta in BETAS:
        found, low, high = [], [], []
        for steps in HORIZONS:
            run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), steps)
            error = (run.teachers[-1] - problem.solution) @ problem.inside
            found.append(float(error.norm() / problem.anchor_error.norm()))
            weights = shares(BetaKernel(beta), steps)[1:]
            low.append(float((1.0 - weights).prod() ** (1.0 / (1.0 + STRENGTH))))
            high.append(math.exp(-float(weights.sum()) / (1.0 + STRENGTH)))
        shown = ", ".join(f"{value:.3f}" for value in found)
        between = all(a <= b <= c for a, b, c in zip(low, found, high, strict=True))
        falls = found == sorted(found, reverse=True) and found[-1] < found[0] / 2
        claim = f"C.8, E_T -> 0 with T, Beta {beta:g}"
        bounds = f"{low[-1]:.3f} .. {high[-1]:.3f} at the last"
        yield Check(claim, f"T = 10, 100, 1000: {shown}", bounds, between and falls)


def persistence(problem: Problem) -> Iterator[Check]:
    """Theorem C.6 along gradient descent, and on the path that meets the bound: all moved at the first step."""
    descent = theory.descent_path(problem, STEPS, theory.step_size(problem, 0.0))
    jump = torch.cat([problem.start[None], theory.direct(problem).expand(STEPS, -1, -1)])
    for beta in BETAS:
        weights = alphas(BetaKernel(beta), STEPS)
        first = float(weights[0] / weights.sum())
        descended, jumped = (gap(path, beta) for path in (descent, jump))
        claim = f"Theorem C.6, WMA's gap, Beta {beta:g}"
        yield Check(claim, f"on descent {descended:.2e}", f">= omega_0|T {first:.2e}", descended >= first)
        yield below(f"C.6 is met by a jump, Beta {beta:g}", "gap/bound off 1 by", abs(jumped / first - 1), 1e-9)


def gap(path: Tensor, beta: float) -> float:
    """‖W_T - WMA_T‖ / ‖W_T - W_0‖ of a path (T + 1, p, d)."""
    teacher = follow(path, wma(BetaKernel(beta)))[-1]
    return float((path[-1] - teacher).norm() / (path[-1] - path[0]).norm())


def collapse(problem: Problem) -> Iterator[Check]:
    """An EMA's gap to a student with W_t = W_0 + (1 - r^t) U: m (1 - r)(m^t - r^t)/(m - r) ‖U‖."""
    displacement, rate, m = theory.direct(problem) - problem.start, 0.8, MOMENTUM
    times = torch.arange(STEPS + 1, dtype=torch.float64)
    path = theory.line_path(problem, STEPS, rate)
    gaps = sizes(path - follow(path, ema(m))) / displacement.norm()
    expected = m * (1.0 - rate) * (m**times - rate**times) / (m - rate)
    yield below("EMA's gap in closed form", "largest deviation", float((gaps - expected).abs().max()), EXACT)
    decay = float((gaps[200] / gaps[100]) ** (1 / 100))
    yield below("EMA's gap decays geometrically, by m = 0.9 a step", "ratio off by", abs(decay - m), DESCENT)
    yield below("EMA's gap vanishes", f"after {STEPS} steps", float(gaps[-1]), 1e-12)


def equivalence(problem: Problem) -> Iterator[Check]:
    """An EMA of momentum m is the WMA with alpha_t = (1-m)/m^t alpha_0."""
    path = theory.descent_path(problem, STEPS, theory.step_size(problem, 0.0))

    def kernel(progress: float) -> float:
        step = round(progress * (STEPS + 1) - 0.5)
        return 1.0 if step == 0 else (1.0 - MOMENTUM) / MOMENTUM**step

    off = sizes(follow(path, wma(kernel)) - follow(path, ema(MOMENTUM))).max() / problem.start.norm()
    yield below("EMA is the WMA of alpha_t = (1-m)/m^t alpha_0", f"apart in {STEPS} steps", float(off), EXACT)


CLAIMS: tuple[Callable[[Problem], Iterator[Check]], ...] = (
    target,
    closed_forms,
    limits,
    iteration,
    contraction,
    convergence,
    persistence,
    collapse,
    equivalence,
)
