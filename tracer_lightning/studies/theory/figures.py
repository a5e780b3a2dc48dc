"""Figures of TRACER's theory, drawn from the behaviour of the package's teachers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tracer_lightning.kernels import BetaKernel, ExponentialKernel
from tracer_lightning.reporting.style import COLOURS, style
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.claims import (
    APPROACH,
    BETAS,
    LONG,
    MOMENTUM,
    RARE,
    STEPS,
    STRENGTH,
    curvature,
    first_share,
    teacher_errors,
)
from tracer_lightning.studies.theory.linear import (
    Problem,
    TeacherFactory,
    ema,
    frobenius_norms,
    self_distillation,
    snapshot_weights,
    step_shares,
    teacher_path,
    update_counting_wma,
    wma,
)

EMA_COLOUR = "#d95f02"
BETA_COLOURS = {0.2: "#08306b", 0.5: COLOURS["teacher"], 1.0: "#4aa3a2", 1.5: "#8bb84a"}
RATE = 5.0
"""Rate of the exponential kernel shown: the last moment weighs e^5 = 148 times the first."""


def _teachers() -> dict[str, tuple[TeacherFactory, str, str]]:
    """Teacher, colour and line style by name."""
    lines = {f"Beta {beta:g}": (wma(BetaKernel(beta)), BETA_COLOURS[beta], "-") for beta in BETAS}
    exponential = (wma(ExponentialKernel(RATE)), "#8a5fb0", "-.")
    return {f"EMA {MOMENTUM:g}": (ema(MOMENTUM), EMA_COLOUR, "--"), **lines, f"exponential {RATE:g}": exponential}


def _figure(title: str) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(9.5, 4.4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    return figure, list(figure.subplots(1, 2))


# -- geometry -------------------------------------------------------------------------------------------------------


def _plane() -> Problem:
    """One image direction in a plane of weights (p = 1, d = 2), so that the solutions of the task form a line."""
    images = torch.tensor([[2.0], [0.0]], dtype=torch.float64)  # (2, 1)
    return Problem(images, torch.tensor([[4.0]], dtype=torch.float64), torch.tensor([[-1.0, 1.5]], dtype=torch.float64))


def _subspace() -> Problem:
    """Two image directions, one seen 2.9 times as strongly as the other (p = 1, d = 2)."""
    images = torch.diag(torch.tensor([2.0, 0.7], dtype=torch.float64))
    start = torch.tensor([[-1.0, 1.6]], dtype=torch.float64)
    return Problem(images, torch.zeros(1, 2, dtype=torch.float64), start)


def _pair(weights: Tensor) -> tuple[float, float]:
    first, second = weights.flatten().tolist()
    return first, second


def _mark(axes: Axes, weights: Tensor, name: str, colour: str, offset: tuple[float, float], marker: str = "o") -> None:
    """Draw a named point; ``offset`` is that of its label in points."""
    x, y = _pair(weights)
    axes.plot(x, y, marker, color=colour, ms=7, zorder=5)
    axes.annotate(name, (x, y), xytext=offset, textcoords="offset points", ha="center", color=colour)


def _adam_path(problem: Problem, steps: int) -> Tensor:
    """Weights (steps + 1, d) along AdamW with weight decay 0.1 on the task loss alone."""
    weights = problem.start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([weights], lr=0.02, weight_decay=0.1)
    path = [problem.start]
    for _ in range(steps):
        optimizer.zero_grad()
        theory.objective(problem, theory.no_penalty, weights).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        path.append(weights.detach().clone())
    return torch.stack(path).flatten(1)


def _draw_plane(axes: Axes) -> None:
    problem = _plane()
    start, end = problem.start[0], theory.direct(problem)[0]
    axes.axvline(float(end[0]), color="#bbbbbb", lw=1.2)
    axes.text(float(end[0]) + 0.05, 0.42, "all solve the task", rotation=90, color="#777777", va="center")
    axes.annotate("", _pair(end), _pair(start), arrowprops={"arrowstyle": "->", "color": "#999999", "lw": 1})
    axes.plot(*_adam_path(problem, STEPS).T, color=EMA_COLOUR, ls="--", lw=1.4)
    axes.annotate("AdamW, decay 0.1:\nleaves the line", (0.1, 0.8), ha="center", color=EMA_COLOUR)
    run = self_distillation(problem, STRENGTH, wma(BetaKernel()), STEPS)
    _mark(axes, problem.start, "pretrained $W_0$", "black", (0, 9), "s")
    _mark(axes, theory.static_distillation(problem, STRENGTH), "static SD", COLOURS["zero_shot"], (0, 9))
    _mark(axes, theory.l2_sp(problem, STRENGTH), "L2-SP", "#8a5fb0", (-4, -16))
    _mark(axes, run.students[-1], f"SD-WMA,\nT = {STEPS}", COLOURS["teacher"], (-16, 9))
    _mark(axes, theory.direct(problem), "direct", "black", (20, 9))
    _mark(axes, problem.solution, "$W^*$", "black", (-14, -4), "x")
    axes.set(
        xlabel="weight inside the task subspace", ylabel="weight outside of it", xlim=(-1.6, 2.6), ylim=(-0.3, 2.1)
    )
    axes.set_title("Plain descent keeps what lies outside")


def _draw_subspace(axes: Axes) -> None:
    problem = _subspace()
    strengths = torch.logspace(-3, 3, 121, dtype=torch.float64).tolist()
    curves = {"L2-SP": (theory.l2_sp, "#8a5fb0"), "static SD": (theory.static_distillation, COLOURS["zero_shot"])}
    for name, (method, colour) in curves.items():
        line = torch.cat([method(problem, strength) for strength in strengths])
        axes.plot(*line.T, color=colour, lw=1.8, label=f"{name}, every $\\lambda$")
        axes.plot(*method(problem, STRENGTH)[0], "o", color=colour, ms=7, label=f"{name}, $\\lambda$ = {STRENGTH:g}")
    teacher, steps = wma(BetaKernel()), (10, 1000)
    ends = torch.cat([self_distillation(problem, STRENGTH, teacher, count).students[-1] for count in steps])
    axes.plot(*ends.T, "D", color=COLOURS["teacher"], ms=6, label=f"SD-WMA, $\\lambda$ = {STRENGTH:g}")
    for end, count in zip(ends, steps, strict=True):
        axes.annotate(f"T = {count}", _pair(end), (-48, -6), textcoords="offset points", color=COLOURS["teacher"])
    _mark(axes, problem.start, "$W_0$", "black", (0, 9), "s")
    _mark(axes, problem.solution, "$W^*$", "black", (14, -4), "x")
    axes.set(xlabel="weight seen strongly ($\\sigma$ = 2)", ylabel="weight seen weakly ($\\sigma$ = 0.7)")
    axes.set(xlim=(-1.35, 0.65), ylim=(-0.2, 1.9))
    axes.set_title("Inside, L2-SP forgets the strong directions first")
    axes.legend(loc="lower left", fontsize=8)


def geometry(problem: Problem) -> Figure:
    """Final weights of each method in two problems of its own with two weights each; ``problem`` is not used."""
    del problem
    with style(formulas=True):
        figure, (left, right) = _figure("Geometry of fine-tuning a linear encoder")
        _draw_plane(left)
        _draw_subspace(right)
    return figure


# -- gap ------------------------------------------------------------------------------------------------------------


def gap(problem: Problem) -> Figure:
    """‖student - teacher‖ along gradient descent, and the error inside the task subspace of distillation from each."""
    path = theory.descent_path(problem, STEPS, theory.step_size(problem, 0.0))
    scale = float((path[-1] - path[0]).norm())
    with style(formulas=True):
        figure, (left, right) = _figure("What each teacher still pulls with, and where it lets the student go")
        for name, (make_teacher, colour, linestyle) in _teachers().items():
            left.plot(
                frobenius_norms(path - teacher_path(path, make_teacher)) / scale,
                color=colour,
                ls=linestyle,
                lw=1.6,
                label=name,
            )
            if "EMA" not in name:
                smallest = float(snapshot_weights(make_teacher, STEPS)[0])
                left.plot(STEPS, smallest, "_", color=colour, ms=14, mew=2, clip_on=False)
            students = self_distillation(problem, STRENGTH, make_teacher, STEPS).students
            errors = frobenius_norms((students - problem.solution) @ problem.inside) / float(
                problem.anchor_error.norm()
            )
            right.plot(errors, color=colour, ls=linestyle, lw=1.6)
        left.plot([], [], "_", color="black", ms=12, mew=2, label=r"bound $\omega_{0|T}$ (C.6)")
        right.axhline(STRENGTH / (1 + STRENGTH), color=COLOURS["zero_shot"], lw=1.2, ls=":")
        right.text(STEPS, 0.5, "static SD: $\\lambda/(1+\\lambda)$", ha="right", va="bottom", color="#666666")
        left.set(yscale="log", ylim=(1e-4, 1.5), xlim=(0, STEPS), xlabel="optimizer step")
        left.set_ylabel(r"$\|W_t - teacher_t\|\;/\;\|W_T - W_0\|$")
        left.set_title("Direct fine-tuning: gap of the teachers watching")
        right.set(yscale="log", ylim=(1e-3, 1.2), xlim=(0, STEPS), xlabel="step (one exact minimisation)")
        right.set_ylabel(r"$\|(W_t - W^*)P\|\;/\;\|W_0 P - W^*\|$")
        right.set_title(f"Self-distillation, $\\lambda$ = {STRENGTH:g}: bias left")
        figure.legend(loc="outside lower center", ncols=4)
    return figure


# -- weights --------------------------------------------------------------------------------------------------------


def weights(problem: Problem) -> Figure:
    """omega_{k|T} of each kernel updated at every step, and of three clocks with rare updates; needs no problem."""
    del problem
    clocks: dict[str, tuple[TeacherFactory, str, str]] = {
        "clock of optimizer steps": (wma(BetaKernel()), COLOURS["teacher"], "o"),
        "clock counts updates (official code)": (update_counting_wma(BetaKernel()), "#111111", "s"),
        f"EMA {MOMENTUM:g}": (ema(MOMENTUM), EMA_COLOUR, "^"),
    }
    with style(formulas=True):
        figure, (left, right) = _figure(r"Weight $\omega_{k|T}$ of the student of step k in the last teacher")
        for name, (make_teacher, colour, linestyle) in _teachers().items():
            left.plot(snapshot_weights(make_teacher, STEPS), color=colour, ls=linestyle, lw=1.6, label=name)
        left.set(yscale="log", ylim=(1e-5, 0.8), xlim=(-4, STEPS + 4), xlabel="optimizer step k", ylabel="weight")
        left.set_title(f"Update at every step, T = {STEPS}")
        left.legend(loc="upper center", ncols=2, fontsize=8)
        steps = torch.arange(0, LONG + 1, RARE)
        for name, (make_teacher, colour, marker) in clocks.items():
            snapshots = snapshot_weights(make_teacher, LONG, RARE)
            label = f"{name}: $W_0$ weighs {100 * float(snapshots[0]):.1f} %"
            right.plot(steps, snapshots, marker, color=colour, ms=3.5, label=label)
        right.set(
            yscale="log", ylim=(1e-3, 3), xlim=(-LONG / 60, LONG * 61 / 60), xlabel="optimizer step k", ylabel="weight"
        )
        right.set_title(f"Update every {RARE} steps, T = {LONG:,}; Beta 0.5")
        right.legend(loc="upper center", fontsize=8)
    return figure


# -- bounds ---------------------------------------------------------------------------------------------------------


def bounds(problem: Problem) -> Figure:
    """Self-distillation's gradient on a line with C.6's bound on the last one, and SD-WMA's error with C.9's bound."""
    path = theory.line_path(problem, STEPS, APPROACH)
    displacement = path[-1] - path[0]
    times = torch.arange(STEPS + 1, dtype=torch.float64)
    with style(formulas=True):
        figure, (left, right) = _figure("Bounds on the pull and on the error")
        for name, (make_teacher, colour, linestyle) in _teachers().items():
            pulls = (
                STRENGTH
                * frobenius_norms((path - teacher_path(path, make_teacher)) @ problem.images @ problem.images.T)
                / displacement.norm()
            )
            left.plot(pulls, color=colour, ls=linestyle, lw=1.6, label=name)
            errors = teacher_errors(problem, self_distillation(problem, STRENGTH, make_teacher, STEPS).teachers)
            right.plot(errors, color=colour, ls=linestyle, lw=1.6)
        mu = curvature(theory.output_penalty(problem, STRENGTH, problem.start), problem.start, displacement)
        for beta, colour in BETA_COLOURS.items():
            left.plot(STEPS, mu * first_share(beta), "_", color=colour, ms=14, mew=2, clip_on=False)
            smallest = float(step_shares(BetaKernel(beta), STEPS)[1:].min())
            right.plot((1.0 - smallest / (1.0 + STRENGTH)) ** times, color=colour, ls=":", lw=1.4)
        left.plot([], [], "_", color="black", ms=12, mew=2, label=r"bound $\mu\,\omega_{0|T}$ (C.6)")
        left.plot([], [], ":", color="black", lw=1.4, label=r"bound $(1-\omega_{min}/(1+\lambda))^t$ (C.9)")
        left.set(yscale="log", ylim=(1e-4, 3), xlim=(0, STEPS), xlabel="optimizer step")
        left.set_ylabel(r"$\|\nabla R(W_t)\|\;/\;\|W_T - W_0\|$")
        left.set_title("A student on a line: gradient towards the teacher")
        right.set(yscale="log", ylim=(1e-3, 1.2), xlim=(0, STEPS), xlabel="step (one exact minimisation)")
        right.set_ylabel(r"$\|E_t\|\;/\;\|E_0\|$")
        right.set_title(f"Self-distillation, $\\lambda$ = {STRENGTH:g}: teacher's error")
        figure.legend(loc="outside lower center", ncols=4)
    return figure


FIGURES: dict[str, Callable[[Problem], Figure]] = {
    "geometry": geometry,
    "gap": gap,
    "bounds": bounds,
    "weights": weights,
}
