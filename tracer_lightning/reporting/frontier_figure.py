"""Figure of trade-offs: scores on other sets against ID scores, with the Pareto front of each series."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tracer_lightning.reporting.escaping import printable
from tracer_lightning.reporting.frontier import ID, OOD, OTHER, Frontiers, Series, group_title
from tracer_lightning.reporting.style import SERIES_COLOURS

MARKERS = "osD^vP<X>ph"
"""Markers of series; as there are not as many as colours, pairs of both are distinct for all series."""
AXES: Mapping[str, str] = {ID: "ID {} (%)", OOD: "OOD {} (%)", OTHER: "{} on other sets (%)"}
"""Labels of axes by role, with a place for the title of the scores."""
CELL_AXIS = "{} (%), {}"
"""Label of the axes of cells, with places for the title of the scores and that of the cell."""
MOST_COLUMNS = 5
"""Number of panels side by side before they are continued in another row."""
LONGEST_NAME = 40
"""Number of characters in a line of the legend before names are wrapped."""
PANEL_WIDTH = 80
"""Number of characters that the legend has room for below a panel."""


HANDLE = 7
"""Width of a line's sample in the legend with its margins, in characters."""
BEFORE = "before training"


def draw_frontiers(frontiers: Frontiers, groups: Sequence[str]) -> Figure:
    """Draw a panel for each group of sets: all settings small and pale, fronts as lines, the start as a square.

    Args:
        frontiers: series of settings.
        groups: groups of sets to compare with those of role ``id``: :attr:`Frontiers.roles` or :attr:`Frontiers.cells`.
    """
    labels = [textwrap.fill(printable(series.label), LONGEST_NAME) for series in frontiers.series]
    longest = max(len(line) for name in (BEFORE, *labels) for line in name.split("\n"))
    columns = min(len(groups), MOST_COLUMNS)
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(5.6 * columns, 4.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in panels[len(groups) :]:
        axes.remove()
    for axes, group in zip(panels[: len(groups)], groups, strict=True):
        for number, (series, name) in enumerate(zip(frontiers.series, labels, strict=True)):
            _draw_series(axes, series, group, number, name)
        for start in frontiers.starts:
            axes.plot(100 * start[ID], 100 * start[group], "s", color="black", ms=8, zorder=4, label=BEFORE)
        ylabel = AXES.get(group, CELL_AXIS).format(frontiers.titles[group], group_title(group))
        axes.set(xlabel=AXES[ID].format(frontiers.titles[ID]), ylabel=ylabel)
    handles, names = panels[0].get_legend_handles_labels()
    entries = dict(zip(names, handles, strict=True))
    ncols = max(1, PANEL_WIDTH * columns // (longest + HANDLE))
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=ncols)
    return figure


def _draw_series(axes: Axes, series: Series, group: str, number: int, name: str) -> None:
    colour, marker = SERIES_COLOURS[number % len(SERIES_COLOURS)], MARKERS[number % len(MARKERS)]
    axes.plot(
        *(100 * series.means(ID), 100 * series.means(group), marker), color=colour, ms=4, alpha=0.4, mew=0, zorder=2
    )
    front = series.front(group)
    x, y = ([100 * point.mean(key) for point in front] for key in (ID, group))
    axes.plot(x, y, f"{marker}-", color=colour, ms=5, lw=1.3, zorder=3, label=name)
