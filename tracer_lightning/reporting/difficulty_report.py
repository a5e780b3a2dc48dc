"""Difficulty of datasets and its correlation with gain and forgetting, as tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from tracer_lightning.reporting.forgetting import NUMBERS, AccuracyChange, Correlation, Measured, points
from tracer_lightning.reporting.style import COLOURS, style
from tracer_lightning.reporting.tables import MISSING

NOTE = (
    "Accuracy in percent, the others are cosines or of cosines. Silhouette by modality: of images and texts as two "
    "clusters, the published score as it is most likely meant; high: wide gap, harder. By class: its other reading; "
    "high: classes well apart, easier. ACS: mean cosine to the text of the own class; high: easier. IIMM: mean of the "
    "cosines to other classes' texts and between images; high: more to gain, more to forget."
)
CORRELATION_NOTE = (
    "Spearman's ρ and two-sided p. A point is a group of runs that are equal but for their seeds, on one data set. "
    "Gain: accuracy of the student less that before, on sets of role id; forgetting: accuracy before less that of the "
    "student, on all others. Points of one data set share its numbers and are not independent: p is too small, and "
    "there are no more than so many data sets to learn from."
)
PERCENT = 100
MARKERS = "os^Dv<>ph"
"""Markers of datasets, so that figures can be read without colours."""
COLUMNS = 3
LAYOUT: Any = {"box": box.SIMPLE, "collapse_padding": True, "pad_edge": False, "caption_justify": "left"}


class MeasureName(NamedTuple):
    """Names of a measure of difficulty."""

    heading: str
    """Heading in tables, in two lines."""
    axis: str
    """Axis label in figures, with its unit."""
    harder: str
    """Values that mean a harder dataset, ``low`` or ``high``."""


NAMES = {
    "accuracy": MeasureName("zero-shot\naccuracy", "zero-shot accuracy (%)", "low"),
    "silhouette_by_modality": MeasureName("silhouette\nby modality", "silhouette by modality (−1 to 1)", "high"),
    "silhouette_by_class": MeasureName("silhouette\nby class", "silhouette by class (−1 to 1)", "low"),
    "correct_pair_cosine": MeasureName("\nACS", "correct-pair cosine, ACS (−1 to 1)", "low"),
    "iimm": MeasureName("\nIIMM", "IIMM (−1 to 1)", "high"),
}


def _format(number: str, value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{PERCENT * value:.1f}" if number == "accuracy" else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def difficulty_table(title: str, measured: Measured) -> Table:
    """Table of all measures of all datasets.

    Args:
        title: title of the table.
        measured: measures, role and ``n`` by dataset.
    """
    table = Table(title=title, caption=NOTE, **LAYOUT)
    for heading in ("data set", "role"):
        table.add_column(f"\n{heading}", no_wrap=True)
    for heading in ("\nn", *(NAMES[number].heading for number in NUMBERS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, values in measured.items():
        table.add_row(name, values["role"], str(values["n"]), *(_format(key, values[key]) for key in NUMBERS))
    return table


def _format_rho(correlation: Correlation) -> str:
    return MISSING if correlation.rho is None else f"{correlation.rho:+.2f}".replace("-", "−")


def correlation_table(title: str, results: Mapping[str, Mapping[str, Correlation]]) -> Table:
    """Table of the rank correlation of every measure with gain and with forgetting.

    Args:
        title: title of the table.
        results: correlations as computed by :func:`tracer_lightning.reporting.forgetting.correlations`.
    """
    table = Table(title=title, caption=CORRELATION_NOTE, **LAYOUT)
    for heading in ("", "number", "harder"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ρ", "p", "points", "data sets"):
        table.add_column(heading, justify="right", no_wrap=True)
    for quantity, numbers in results.items():
        table.add_section()
        for number, result in numbers.items():
            p = MISSING if result.p is None else f"{result.p:.3f}" if result.p >= 0.001 else "<0.001"
            name = NAMES[number].heading.replace("\n", " ").strip()
            table.add_row(quantity, name, NAMES[number].harder, _format_rho(result), p, str(result.n), str(result.sets))
    return table


def scatter(
    measured: Measured, changes: Sequence[AccuracyChange], quantity: str, results: Mapping[str, Correlation], title: str
) -> Figure:
    """Draw gain or forgetting against every measure, with a point for each group of runs and dataset.

    Args:
        measured: measures by dataset.
        changes: changes; those of other quantities and of datasets that are not measured are left out.
        quantity: ``gain`` or ``forgetting``.
        results: correlations by measure, shown above the panels.
        title: title of the figure.
    """
    quantity_changes = [change for change in changes if change.quantity == quantity]
    sets = list(dict.fromkeys(change.data_set for change in quantity_changes if change.data_set in measured))
    with style():
        rows = -(-(len(NUMBERS) + 1) // COLUMNS)  # the last one is the legend
        figure = Figure(figsize=(7.5, 0.4 + 2.4 * rows), layout="constrained")
        *panels, corner = figure.subplots(rows, COLUMNS, sharey=True).flat
        for axes, number in zip(panels, NUMBERS, strict=True):
            _panel(axes, points(measured, changes, quantity, number), number, sets)
            axes.set_title(f"ρ = {_format_rho(results[number])}, n = {results[number].n}")
        for axes in panels[::COLUMNS]:
            axes.set_ylabel(f"{quantity} (points of accuracy)")
        corner.axis("off")
        handles, names = panels[0].get_legend_handles_labels()
        corner.legend(handles, names, loc="center", ncols=1 + len(names) // 11, fontsize="small")
        figure.suptitle(title, parse_math=False)
    return figure


def _panel(axes: Axes, pairs: Sequence[tuple[float, AccuracyChange]], number: str, sets: Sequence[str]) -> None:
    unit = PERCENT if number == "accuracy" else 1
    for index, data_set in enumerate(sets):
        x = [unit * value for value, change in pairs if change.data_set == data_set]
        y = [PERCENT * change.change for _, change in pairs if change.data_set == data_set]
        look: Any = {"marker": MARKERS[index % len(MARKERS)], "color": f"C{index}", "linewidths": 0.3, "s": 20}
        axes.scatter(x, y, edgecolors="white", label=data_set, zorder=3, **look)
    axes.axhline(0, color=COLOURS["zero_shot"], linewidth=0.9)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.08)
    axes.set_xlabel(NAMES[number].axis)
