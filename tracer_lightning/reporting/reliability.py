"""Reliability diagrams: accuracy against confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tracer_lightning.reporting.bins import CENTRES, FEW, WIDTH, Bins, bin_statistics, binned_ece
from tracer_lightning.reporting.style import COLOURS, style

OVERCONFIDENT, UNDERCONFIDENT = "#e8853b", "#5fb8a6"
COLUMNS = 5


def _draw(diagram: Axes, histogram: Axes, bins: Bins) -> None:
    """Draw accuracy against confidence, and the histogram of confidence below it.

    The coloured part between a bin's accuracy and its mean confidence is its contribution to the ECE, weighted by the
    histogram. In the histogram the solid line is the accuracy and the dashed one the mean confidence of the whole set.
    """
    n, accuracy, confidence = bin_statistics(bins)
    width, nonempty, total = 0.86 * WIDTH, n > 0, max(1, n.sum())
    gap, lower = np.abs(confidence - accuracy), np.minimum(confidence, accuracy)
    alpha = np.where(n < FEW, 0.35, 1.0)
    gap_colours = np.where(confidence > accuracy, OVERCONFIDENT, UNDERCONFIDENT)
    for position in np.flatnonzero(nonempty):
        look: Any = {"width": width, "alpha": alpha[position], "linewidth": 0, "zorder": 2}
        diagram.bar(CENTRES[position], lower[position], color=COLOURS["student"], **look)
        diagram.bar(CENTRES[position], gap[position], bottom=lower[position], color=str(gap_colours[position]), **look)
    diagram.plot([0, 1], [0, 1], linestyle=(0, (4, 3)), linewidth=0.9, color=COLOURS["zero_shot"], zorder=3)
    diagram.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    diagram.tick_params(labelbottom=False, length=0)
    histogram.bar(CENTRES, n / total, width, color=COLOURS["student"], alpha=0.55, zorder=2)
    if nonempty.any():
        histogram.axvline(accuracy @ n / total, color=COLOURS["student"], linewidth=1.3, zorder=3)
        histogram.axvline(confidence @ n / total, color=OVERCONFIDENT, linewidth=1.3, linestyle=(0, (2, 1.5)), zorder=4)
    histogram.set(xlim=(0, 1), ylim=(0, 1), yticks=(0, 1), xticks=(0, 0.5, 1))
    histogram.tick_params(length=0)


def reliability_figure(bins_by_set: Mapping[str, Bins], title: str) -> Figure:
    """Draw the reliability diagrams of several datasets side by side, each above its confidence histogram.

    Args:
        bins_by_set: bins by dataset, as in ``details.json``.
        title: title of the figure; ``""`` for none.
    """
    columns = max(1, min(COLUMNS, len(bins_by_set)))
    rows = max(1, -(-len(bins_by_set) // columns))
    with style():
        figure = Figure(figsize=(0.3 + 2.2 * columns, 0.65 + 3.1 * rows), layout="constrained")
        grid = figure.add_gridspec(rows, columns)
        for position, (name, bins) in enumerate(bins_by_set.items()):
            cell = grid[divmod(position, columns)].subgridspec(2, 1, height_ratios=(3, 1))
            diagram, histogram = (figure.add_subplot(cell[row]) for row in range(2))
            _draw(diagram, histogram, bins)
            ece = f"ECE {100 * binned_ece(bins):.1f} %" if any(bins["n"]) else "no samples"
            diagram.set_title(f"{name}\n{ece}", parse_math=False)
            if position % columns == 0:
                diagram.set_ylabel("accuracy")
                histogram.set_ylabel("share")
            histogram.set_xlabel("confidence")
        gaps = {"overconfident": OVERCONFIDENT, "underconfident": UNDERCONFIDENT}
        figure.legend(
            [Patch(color=colour) for colour in gaps.values()], list(gaps), loc="outside lower center", ncols=2
        )
        if title:
            figure.suptitle(title, parse_math=False)
    return figure
