"""Weights of a trajectory under a kernel, as numbers and figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from tracer_lightning.kernels import Kernel
from tracer_lightning.reporting.style import COLOURS, style
from tracer_lightning.studies.theory.linear import kernel_weights

COLUMNS = 4
POINTS = 2_000
"""Approximate number of points of a curve, besides the first and the last hundred steps."""
MIN_WEIGHT, MAX_WEIGHT = 1e-3, 3e2
"""Range of the weights shown, relative to those of the uniform kernel."""


class TeacherMemory(NamedTuple):
    """Weights of all students in the final teacher of a run with an update at every step."""

    weights: Tensor
    """Weights omega_{k|T} of theta_0 and the T students, (T + 1,); their sum is 1."""

    @property
    def start(self) -> float:
        """Weight of theta_0."""
        return float(self.weights[0])

    @property
    def centre(self) -> float:
        """Weighted mean of the progress k / T, in [0, 1]."""
        steps = torch.arange(len(self.weights), dtype=self.weights.dtype)
        return float(self.weights @ steps) / (len(self.weights) - 1)

    def share(self, begin: float, end: float) -> float:
        """Weight of the students whose progress k / T lies in [begin, end], theta_0 included."""
        progress = torch.arange(len(self.weights), dtype=self.weights.dtype) / (len(self.weights) - 1)
        return float(self.weights[(progress >= begin) & (progress <= end)].sum())

    @property
    def effective(self) -> float:
        """Effective number of averaged students, 1 / sum omega^2, as a share of T + 1."""
        return 1.0 / float(self.weights.square().sum()) / len(self.weights)


def memory(kernel: Kernel, steps: int) -> TeacherMemory:
    """Compute the weights of a kernel over ``steps`` optimizer steps.

    Raises:
        ValueError: the weights are not finite numbers >= 0, or all 0.
    """
    weights = kernel_weights(kernel, steps)
    if float(weights.sum()) == math.inf:
        raise ValueError(f"kernel must give weights whose sum over {steps} steps is finite")
    if not float(weights.sum()) > 0:
        raise ValueError(f"kernel gives 0 at each of {steps} steps, so that the teacher never moves; choose another")
    return TeacherMemory(weights / weights.sum())


def _drawn_steps(steps: int) -> Tensor:
    """Steps to draw, (n,), in ascending order."""
    ends = min(100, steps)
    parts = [torch.linspace(0, steps, POINTS).round().long(), torch.arange(ends), steps - torch.arange(ends)]
    return torch.tensor(sorted(set(torch.cat(parts).tolist())))


def _draw_weights(axes: Axes, memory: TeacherMemory, reference: TeacherMemory) -> None:
    steps = len(memory.weights) - 1
    drawn = _drawn_steps(steps)
    for each, colour, width in ((reference, "#c9c9c9", 1.2), (memory, COLOURS["teacher"], 1.8)):
        relative = (steps + 1) * each.weights[drawn]
        axes.plot(drawn / steps, relative.where(relative > 0, math.nan), color=colour, lw=width)
    axes.set(yscale="log", ylim=(MIN_WEIGHT, MAX_WEIGHT), xlim=(-0.02, 1.02), xticklabels=[])


def _draw_shares(axes: Axes, memory: TeacherMemory, reference: TeacherMemory) -> None:
    steps = len(memory.weights) - 1
    drawn = _drawn_steps(steps)
    for each, colour, width in ((reference, "#c9c9c9", 1.2), (memory, COLOURS["teacher"], 1.8)):
        axes.plot(drawn / steps, 100 * each.weights.cumsum(0)[drawn], color=colour, lw=width)
    axes.plot(memory.centre, 0, "^", color=COLOURS["published"], ms=7, clip_on=False, zorder=5)
    axes.set(ylim=(0, 100), xlim=(-0.02, 1.02), yticks=[0, 50, 100])


def weights_figure(kernels: Mapping[str, TeacherMemory], reference: TeacherMemory) -> Figure:
    """Draw the weights of each kernel above their cumulative share.

    Args:
        kernels: weights by title, all over the same number of steps.
        reference: weights that are drawn in grey behind each.
    """
    rows, columns = -(-len(kernels) // COLUMNS), min(COLUMNS, len(kernels))
    with style(formulas=True):
        figure = Figure(figsize=(1.2 + 2.5 * columns, 0.5 + 3.1 * rows), layout="constrained")
        grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.3, 1] * rows)
        positions: Sequence[tuple[int, int]] = [(row, column) for row in range(rows) for column in range(columns)]
        for row, column in positions[len(kernels) :]:
            grid[2 * row, column].remove()
            grid[2 * row + 1, column].remove()
        for (row, column), (title, weights) in zip(positions, kernels.items(), strict=False):
            above, below = grid[2 * row : 2 * row + 2, column]
            _draw_weights(above, weights, reference)
            _draw_shares(below, weights, reference)
            above.set_title(title)
            below.set_xlabel(r"progress $\tau$")
            if column == 0:
                above.set_ylabel(r"$(T + 1)\,\omega_{k|T}$")
                below.set_ylabel("share up to $\\tau$ (%)")
            else:
                above.set_yticklabels([])
                below.set_yticklabels([])
    return figure
