"""Draw the idea of TRACER for the README: ``python scripts/figure_idea.py [OUTPUT.png]``.

A student is trained by noisy gradient descent from pretrained weights towards a task's optimum in the plane. Beside it
run two teachers of this package that average the same student: an EMA and the trajectory average (WMA).
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

from tracer_lightning.kernels import BetaKernel
from tracer_lightning.teachers import EMATeacher, WMATeacher

STEPS = 400
COLOURS = {"student": "#333333", "EMA teacher": "#d95f02", "WMA teacher": "#1b6fb5"}


class Point(nn.Module):
    """Model with two weights, a point in the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([-2.0, 1.5]))


def trajectories() -> dict[str, np.ndarray]:
    """Weights (STEPS + 1, 2) of student and teachers along the training."""
    generator = torch.Generator().manual_seed(4)
    student = Point()
    teachers = {
        "EMA teacher": EMATeacher(student, momentum=0.9, total_steps=STEPS),
        "WMA teacher": WMATeacher(student, BetaKernel(0.5), STEPS),
    }
    paths = {name: [student.weights.detach().numpy().copy()] for name in COLOURS}
    curvature = torch.tensor([0.25, 1.0])
    for step in range(STEPS):
        rate = 0.04 * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        with torch.no_grad():
            noise = 0.8 * torch.randn(2, generator=generator)
            student.weights -= rate * (curvature * student.weights + noise)
        paths["student"].append(student.weights.detach().numpy().copy())
        for name, teacher in teachers.items():
            teacher.update(student)
            paths[name].append(teacher.module.weights.detach().numpy().copy())
    return {name: np.stack(path) for name, path in paths.items()}


def draw(output: str) -> None:
    """Draw the paths on the left and the distance between teacher and student on the right."""
    paths = trajectories()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    x, y = np.meshgrid(np.linspace(-2.6, 0.9, 200), np.linspace(-0.6, 1.9, 200))
    left.contour(x, y, 0.25 * x**2 + y**2, levels=10, colors="#dddddd", linewidths=0.8)
    for name, path in paths.items():
        width = 1.2 if name == "student" else 2.2
        left.plot(*path.T, color=COLOURS[name], lw=width, label=name, alpha=0.6 if name == "student" else 1.0)
        left.plot(*path[-1], "o", color=COLOURS[name], ms=7)
    left.plot(*paths["student"][0], "s", color="black", ms=7)
    left.plot(0, 0, "x", color="black", ms=9, mew=2)
    for step in (25, 90, STEPS):
        left.annotate(
            "",
            paths["WMA teacher"][step],
            paths["student"][step],
            arrowprops={"arrowstyle": "->", "color": COLOURS["WMA teacher"], "lw": 1.2},
        )
    left.annotate("pretrained", paths["student"][0], xytext=(-1.95, 1.6), fontsize=10)
    left.annotate("task optimum", (0, 0), xytext=(0.06, 0.08), fontsize=10)
    left.set(xlabel="weight 1", ylabel="weight 2", title="Fine-tuning moves; the trajectory average remembers")
    left.legend(loc="lower left", frameon=False)
    for name in ("EMA teacher", "WMA teacher"):
        gap = np.linalg.norm(paths[name] - paths["student"], axis=1)
        right.plot(gap, color=COLOURS[name], lw=2, label=name)
    right.set(
        xlabel="optimizer step",
        ylabel="distance between teacher and student",
        title="An EMA's pull vanishes; the WMA's persists",
    )
    right.set_ylim(bottom=0)
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(output, dpi=150)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "docs/figures/idea.png")
