"""What TRACER's theorems assume, and what they leave out: what is otherwise there, and by how much."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from tracer_lightning.kernels import BetaKernel, ExponentialKernel, Kernel, UniformKernel
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.bounds import first_share, pull
from tracer_lightning.studies.theory.checks import BETAS, HORIZONS, MOMENTUM, STEPS, STRENGTH, Check, gap
from tracer_lightning.studies.theory.linear import Problem
from tracer_lightning.studies.theory.paths import (
    alphas,
    ema,
    encoder,
    follow,
    official,
    self_distillation,
    shares,
    sizes,
    snapshot_weights,
    wma,
)

LONG, RARE = 25_000, 500
"""Optimizer steps of the paper's ImageNet run, about, and its interval of updates."""


def without_start(kernel: Kernel, steps: int) -> Kernel:
    """The kernel with alpha_0 = 0: the sum of the paper's Algorithm 1, which starts at zero."""
    return lambda progress: 0.0 if progress < 1.0 / (steps + 1) else kernel(progress)


def overshoot(problem: Problem) -> Iterator[Check]:
    """C.6 on the path W_0, W_0 + 2U, W_0 + U: the uniform average is where the student ends."""
    direction = theory.direct(problem) - problem.start
    path = torch.stack([problem.start, problem.start + 2 * direction, problem.start + direction])
    found = float((path[-1] - follow(path, wma(UniformKernel()))[-1]).norm() / direction.norm())
    claim = "C.6 needs a path that does not overshoot"
    yield Check(claim, f"0, 2U, U: gap {found:.1e}", "below omega_0|T = 1/3", found < 1 / 3)


def flat(problem: Problem) -> Iterator[Check]:
    """C.6's gradient on a path outside the task subspace, where self-distillation has no curvature."""
    end = problem.start + problem.start @ problem.outside
    sideways = torch.cat([problem.start[None], end.expand(STEPS, -1, -1)])
    gradient, bound = pull(problem, sideways, 0.5)
    claim = "C.6's gradient bound needs curvature along the path"
    shown = f"gradient {gradient:.1e}, mu {bound / first_share(0.5):.1e}"
    yield Check(claim, shown, f"gap as ever, {gap(sideways, 0.5):.1e}", gradient < 1e-12 < gap(sideways, 0.5))


def summable(problem: Problem) -> Iterator[Check]:
    """C.8 with alpha_k = 2^-k, whose omega_t have a finite sum: the error stays."""
    found = []
    for steps in HORIZONS[:2]:
        kernel = ExponentialKernel(-(steps + 1) * math.log(2.0))
        run = self_distillation(problem, STRENGTH, wma(kernel), steps)
        error = (run.teachers[-1] - problem.solution) @ problem.inside
        found.append(float(error.norm() / problem.anchor_error.norm()))
    shown = f"T = 10, 100: {found[0]:.4f}, {found[1]:.4f}"
    holds = found[1] > 0.5 and abs(found[1] - found[0]) < 1e-3
    yield Check("C.8's limit needs a diverging sum of omega_t", shown, "E_T stays (alpha_k = 2^-k)", holds)


def distant(problem: Problem) -> Iterator[Check]:
    """C.10 with a teacher that is a tenth farther from W* than W_0 is."""
    teacher = problem.solution + 1.1 * problem.anchor_error
    student = theory.distilled(problem, STRENGTH, problem.start, teacher)
    static = theory.static_distillation(problem, STRENGTH)
    errors = [((weights - problem.solution) @ problem.inside).square().sum() for weights in (student, static)]
    share = float(errors[0] / errors[1])
    claim = "C.10 needs a teacher no farther than W_0"
    yield Check(claim, f"1.1 times as far: {share:.2f} of static SD's", "> 1", share > 1.0)


def drifting(problem: Problem) -> Iterator[Check]:
    """An EMA of a student that keeps moving by U a step lags m/(1-m) U behind, for ever."""
    times = torch.arange(STEPS + 1, dtype=torch.float64)[:, None, None]
    path = problem.start + times * problem.start
    found = float(sizes(path - follow(path, ema(MOMENTUM)))[-1] / problem.start.norm())
    expected = MOMENTUM / (1 - MOMENTUM)
    claim = "EMA collapses only if the student converges"
    yield Check(claim, f"drift of U a step: gap {found:.4f} U", "m/(1-m) = 9 U", abs(found - expected) < 1e-6)


def algorithm_1(problem: Problem) -> Iterator[Check]:
    """C.6 with a teacher that Algorithm 1 makes, on a student that jumps to its end."""
    path = torch.cat([problem.start[None], theory.direct(problem).expand(STEPS, -1, -1)])
    first = float(snapshot_weights(wma(BetaKernel()), STEPS)[0])
    found = float(sizes(path - follow(path, wma(without_start(BetaKernel(), STEPS))))[-1] / sizes(path - path[0])[-1])
    claim = "C.6 needs alpha_0 in the sum (Algorithm 1 has not)"
    yield Check(claim, f"jump: gap {found:.1e}", f"below omega_0|T = {first:.1e}", found < first)


def adaptive(problem: Problem) -> Iterator[Check]:
    """Adam rescales each weight, and so leaves the rows' subspace; decay shrinks what lies outside it."""
    for decay in (0.0, 0.1):
        student = encoder(problem.start)
        optimizer = torch.optim.AdamW(student.parameters(), lr=0.03, weight_decay=decay)
        for _ in range(STEPS):
            optimizer.zero_grad()
            theory.objective(problem, theory.no_penalty, student.weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        outside = (student.weight.detach() - problem.start) @ problem.outside
        moved = float(outside.norm() / (problem.start @ problem.outside).norm())
        claim = f"outside P stays only without Adam (decay {decay:g})"
        yield Check(claim, f"AdamW, {STEPS} steps: moves {moved:.0%}", "> 1%", moved > 0.01)


def no_bias(problem: Problem) -> Iterator[Check]:
    """The bias left is at least lambda/(1+lambda) omega_{0|T}^(1/(1+lambda)), so it goes only with C.6's bound."""
    for beta in BETAS:
        run = self_distillation(problem, STRENGTH, wma(BetaKernel(beta)), STEPS)
        left = (run.students[-1] - problem.solution) @ problem.inside
        found = float(left.norm() / problem.anchor_error.norm())
        first = float(snapshot_weights(wma(BetaKernel(beta)), STEPS)[0])
        least = STRENGTH / (1 + STRENGTH) * first ** (1 / (1 + STRENGTH))
        claim = f"no bias only as T -> infinity, Beta {beta:g}"
        bound = f">= {least:.4f} (static: {STRENGTH / (1 + STRENGTH):.3f})"
        yield Check(claim, f"student's bias at T = {STEPS}: {found:.4f}", bound, found >= least)


def rare_updates(problem: Problem) -> Iterator[Check]:
    """theta_0 stands for half a step and each later snapshot for N: with rare updates theta_0 weighs far more."""
    rare, counting = (snapshot_weights(make, LONG, RARE) for make in (wma(BetaKernel()), official(BetaKernel())))
    weights = alphas(BetaKernel(), LONG)
    often = float(weights[0] / weights.sum())
    shown = f"{float(rare[0]):.1%} (counting updates {float(counting[0]):.1%})"
    claim = f"omega_0|T is not kept by updates every {RARE} steps"
    yield Check(claim, shown, f"every step: {often:.1%}, T = {LONG}", float(rare[0]) > 10 * often)


def no_rate(problem: Problem) -> Iterator[Check]:
    """C.9's bound at the end of a run, with the run's own omega_min: as that falls with T, the bound does not."""
    for beta in BETAS:
        least = [float(shares(BetaKernel(beta), steps)[1:].min()) for steps in HORIZONS]
        bounds = [(1.0 - low / (1.0 + STRENGTH)) ** steps for low, steps in zip(least, HORIZONS, strict=True)]
        shown = ", ".join(f"{bound:.2f}" for bound in bounds)
        claim = f"C.9 gives Beta {beta:g} no rate: bound on E_T/E_0"
        yield Check(claim, f"T = 10, 100, 1000: {shown}", "> 0.5 at every T", min(bounds) > 0.5)


def proof_of_dominance(problem: Problem) -> Iterator[Check]:
    """C.10's proof compares ‖lambda/(1+lambda) anchor - W*‖, short of W*/(1+lambda): it may rise where errors fall."""
    share = STRENGTH / (1.0 + STRENGTH)
    start, teacher = problem.solution / share, problem.solution
    compared = [float((share * anchor - problem.solution).norm()) for anchor in (start, teacher)]
    students = [theory.distilled(problem, STRENGTH, start, anchor) for anchor in (start, teacher)]
    errors = [float(((student - problem.solution) @ problem.inside).norm()) for student in students]
    shown = f"static SD {compared[0]:.1e}, teacher at W* {compared[1]:.1e}"
    falls = f"errors: {errors[0]:.1f}, {errors[1]:.1e}"
    rises = compared[1] > compared[0] and errors[1] < errors[0]
    yield Check("C.10's proof compares what is no error", shown, falls, rises)


ASSUMPTIONS: tuple[Callable[[Problem], Iterator[Check]], ...] = (overshoot, flat, summable, distant, drifting)
GAPS: tuple[Callable[[Problem], Iterator[Check]], ...] = (
    algorithm_1,
    adaptive,
    rare_updates,
    no_bias,
    no_rate,
    proof_of_dominance,
)
