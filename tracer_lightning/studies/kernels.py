"""What a kernel makes of a trajectory: numbers and pictures."""

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
"""Of a line, at most; the first and the last hundred steps are always among them."""
LEAST, MOST = 1e-3, 3e2
"""Shown weights, where 1 is that of the uniform kernel."""


class Memory(NamedTuple):
    """The last teacher of a run with an update at every step."""

    weights: Tensor
    """omega_{k|T} of theta_0 and the T students, (T + 1,); their sum is 1."""

    @property
    def start(self) -> float:
        """Weight of theta_0."""
        return float(self.weights[0])

    @property
    def centre(self) -> float:
        """Mean progress k / T of what is remembered, in [0, 1]."""
        steps = torch.arange(len(self.weights), dtype=self.weights.dtype)
        return float(self.weights @ steps) / (len(self.weights) - 1)

    def share(self, begin: float, end: float) -> float:
        """Weight of the students whose progress k / T lies in [begin, end], theta_0 included."""
        progress = torch.arange(len(self.weights), dtype=self.weights.dtype) / (len(self.weights) - 1)
        return float(self.weights[(progress >= begin) & (progress <= end)].sum())

    @property
    def effective(self) -> float:
        """Number of equally weighted students that average as well, 1 / sum omega^2, as a share of T + 1."""
        return 1.0 / float(self.weights.square().sum()) / len(self.weights)


def memory(kernel: Kernel, steps: int) -> Memory:
    """The weights of a kernel over ``steps`` optimizer steps; ValueError where they are none, or all 0."""
    weights = kernel_weights(kernel, steps)
    if float(weights.sum()) == math.inf:
        raise ValueError(f"kernel must give weights whose sum over {steps} steps is finite")
    if not float(weights.sum()) > 0:
        raise ValueError(f"kernel gives 0 at each of {steps} steps, so that the teacher never moves; choose another")
    return Memory(weights / weights.sum())


def _places(steps: int) -> Tensor:
    """Steps to draw, (n,)."""
    ends = min(100, steps)
    chosen = [torch.linspace(0, steps, POINTS).round().long(), torch.arange(ends), steps - torch.arange(ends)]
    return torch.tensor(sorted(set(torch.cat(chosen).tolist())))


def _draw_weights(axes: Axes, found: Memory, reference: Memory) -> None:
    steps = len(found.weights) - 1
    at = _places(steps)
    for of, colour, width in ((reference, "#c9c9c9", 1.2), (found, COLOURS["teacher"], 1.8)):
        relative = (steps + 1) * of.weights[at]
        axes.plot(at / steps, relative.where(relative > 0, math.nan), color=colour, lw=width)
    axes.set(yscale="log", ylim=(LEAST, MOST), xlim=(-0.02, 1.02), xticklabels=[])


def _draw_shares(axes: Axes, found: Memory, reference: Memory) -> None:
    steps = len(found.weights) - 1
    at = _places(steps)
    for of, colour, width in ((reference, "#c9c9c9", 1.2), (found, COLOURS["teacher"], 1.8)):
        axes.plot(at / steps, 100 * of.weights.cumsum(0)[at], color=colour, lw=width)
    axes.plot(found.centre, 0, "^", color=COLOURS["published"], ms=7, clip_on=False, zorder=5)
    axes.set(ylim=(0, 100), xlim=(-0.02, 1.02), yticks=[0, 50, 100])


def figure(kernels: Mapping[str, Memory], reference: Memory) -> Figure:
    """For each kernel its weights above, and the share that has been given out by each moment below.

    Args:
        kernels: title to weights, all over the same number of steps.
        reference: drawn in grey behind each.
    """
    rows, columns = -(-len(kernels) // COLUMNS), min(COLUMNS, len(kernels))
    with style(formulas=True):
        drawn = Figure(figsize=(1.2 + 2.5 * columns, 0.5 + 3.1 * rows), layout="constrained")
        grid = drawn.subplots(2 * rows, columns, squeeze=False, height_ratios=[1.3, 1] * rows)
        places: Sequence[tuple[int, int]] = [(row, column) for row in range(rows) for column in range(columns)]
        for row, column in places[len(kernels) :]:
            grid[2 * row, column].remove()
            grid[2 * row + 1, column].remove()
        for (row, column), (title, found) in zip(places, kernels.items(), strict=False):
            above, below = grid[2 * row : 2 * row + 2, column]
            _draw_weights(above, found, reference)
            _draw_shares(below, found, reference)
            above.set_title(title)
            below.set_xlabel(r"progress $\tau$")
            if column == 0:
                above.set_ylabel(r"$(T + 1)\,\omega_{k|T}$")
                below.set_ylabel("share up to $\\tau$ (%)")
            else:
                above.set_yticklabels([])
                below.set_yticklabels([])
    return drawn
