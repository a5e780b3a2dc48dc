"""Heat map of scores that a suite arranges in rows and columns, such as images by texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tracer_lightning.reporting.escaping import printable
from tracer_lightning.scores import Metric, ScoreGrid, Scores

SCORES, CHANGES = "Greys", "RdBu"
"""Colour maps of scores before training and of changes: losses red, gains blue."""
PALEST = 0.25
"""Share of the colour map of scores that is used, its palest, so that text stays readable."""
LEAST_RANGE = 10.0
"""Smallest range of the colours of changes on either side of zero, in percentage points."""
DARK = 0.5
"""Luminance of a colour below which text on it is white."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance (ITU-R BT.601)."""
CELL_WIDTH, CELL_HEIGHT = 0.95, 0.62
"""Size of a cell in inches."""
MIN_WIDTH = 3.6
"""Smallest width of the figure in inches, so that its title is not cut."""


def grid_scores(scores: Scores, grid: ScoreGrid, metric: Metric) -> np.ndarray:
    """Scores of one model, (rows, columns), in percent where the metric is a fraction; NaN where there is none.

    Args:
        scores: scores of the model by average.
        grid: averages by row and column.
        metric: metric to take.
    """
    values = [[None if name is None else scores[name].get(metric.name) for name in row] for row in grid.averages]
    array: np.ndarray = np.array(values, dtype=float) * (100 if metric.percent else 1)
    return array


def draw_grid(grid: ScoreGrid, results: Mapping[str, Scores], metric: Metric, names: Mapping[str, str]) -> Figure:
    """Draw a panel for each model: the first, before training, in grey, and the changes against it in colour.

    Args:
        grid: averages by row and column.
        results: scores by model.
        metric: metric to draw.
        names: displayed names of the models.
    """
    values = {model: grid_scores(scores, grid, metric) for model, scores in results.items()}
    first, *trained = values
    changes = {model: values[model] - values[first] for model in trained}
    known = [abs(change[np.isfinite(change)]).max(initial=0.0) for change in changes.values()]
    span = max([*known, LEAST_RANGE if metric.percent else 0.0]) or 1.0
    top = 100.0 if metric.percent else float(np.nanmax(abs(values[first]))) or 1.0
    rows, columns = ([printable(title) for title in titles] for titles in (grid.rows, grid.columns))
    width = 0.09 * max(map(len, rows)) + CELL_WIDTH * len(columns) + 0.9 * bool(trained) + 0.2
    height = len(values) * (CELL_HEIGHT * len(rows) + 0.35) + 0.8
    figure = Figure(figsize=(max(width, MIN_WIDTH), height), layout="constrained")
    panels = figure.subplots(len(values), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (model, scores) in zip(panels, values.items(), strict=True):
        change = changes.get(model)
        if change is None:
            image = axes.imshow(scores, cmap=SCORES, norm=Normalize(0, top / PALEST), aspect="auto")
        else:
            image = axes.imshow(change, cmap=CHANGES, norm=Normalize(-span, span), aspect="auto")
        _write_numbers(axes, image, scores, change, metric)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
        axes.set_title(printable(names.get(model, model)))
    if trained:
        unit = " (points)" if metric.percent else ""
        figure.colorbar(image, ax=list(panels[1:]), label=f"change{unit}", aspect=9 * len(trained), pad=0.02)
    unit = " in percent" if metric.percent else ""
    figure.suptitle(f"{metric.title}{unit}, {printable(grid.title)}", fontsize="medium")
    return figure


def _write_numbers(axes: Any, image: Any, scores: np.ndarray, change: np.ndarray | None, metric: Metric) -> None:
    """Write each cell's score, and its change in parentheses, black or white by the cell's colour."""
    digits = ".1f" if metric.percent else ".3g"
    colours = image.cmap(image.norm(image.get_array()))[..., :3]  # (rows, columns, 3)
    for (i, j), score in np.ndenumerate(scores):
        if not np.isfinite(score):
            axes.text(j, i, "–", ha="center", va="center", color="grey")
            continue
        text = f"{score:{digits}}"
        if change is not None and np.isfinite(change[i, j]):
            text += f"\n({change[i, j]:+{digits}})"
        colour = "white" if colours[i, j] @ LUMINANCE < DARK else "black"
        axes.text(j, i, text.replace("-", "−"), ha="center", va="center", color=colour)
