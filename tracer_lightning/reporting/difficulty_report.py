"""Difficulty of data sets and its correlation with gain and forgetting, as tables and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from tracer_lightning.reporting.forgetting import NUMBERS, Change, Correlation, Measured, points
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
"""Of data sets, so that pictures can be told without colours."""
COLUMNS = 3
LAYOUT: Any = {"box": box.SIMPLE, "collapse_padding": True, "pad_edge": False, "caption_justify": "left"}


class Name(NamedTuple):
    """How a number is called."""

    head: str
    """In tables, of two lines."""
    axis: str
    """In pictures, with its unit."""
    harder: str
    """Which values mean a harder data set."""


NAMES = {
    "accuracy": Name("zero-shot\naccuracy", "zero-shot accuracy (%)", "low"),
    "silhouette_by_modality": Name("silhouette\nby modality", "silhouette by modality (−1 to 1)", "high"),
    "silhouette_by_class": Name("silhouette\nby class", "silhouette by class (−1 to 1)", "low"),
    "correct_pair_cosine": Name("\nACS", "correct-pair cosine, ACS (−1 to 1)", "low"),
    "iimm": Name("\nIIMM", "IIMM (−1 to 1)", "high"),
}


def _shown(number: str, value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{PERCENT * value:.1f}" if number == "accuracy" else f"{round(value, 3) + 0.0:.3f}".replace("-", "−")


def difficulty_table(title: str, measured: Measured) -> Table:
    """Every number of every data set.

    Args:
        title: above the table.
        measured: data set to its numbers, role and ``n``.
    """
    table = Table(title=title, caption=NOTE, **LAYOUT)
    for head in ("data set", "role"):
        table.add_column(f"\n{head}", no_wrap=True)
    for head in ("\nn", *(NAMES[number].head for number in NUMBERS)):
        table.add_column(head, justify="right", no_wrap=True)
    for name, values in measured.items():
        table.add_row(name, values["role"], str(values["n"]), *(_shown(key, values[key]) for key in NUMBERS))
    return table


def _rho(found: Correlation) -> str:
    return MISSING if found.rho is None else f"{found.rho:+.2f}".replace("-", "−")


def correlation_table(title: str, found: Mapping[str, Mapping[str, Correlation]]) -> Table:
    """Rank correlation of every number with gain and with forgetting.

    Args:
        title: above the table.
        found: as computed by :func:`tracer_lightning.reporting.forgetting.correlations`.
    """
    table = Table(title=title, caption=CORRELATION_NOTE, **LAYOUT)
    for head in ("", "number", "harder"):
        table.add_column(head, no_wrap=True)
    for head in ("ρ", "p", "points", "data sets"):
        table.add_column(head, justify="right", no_wrap=True)
    for quantity, numbers in found.items():
        table.add_section()
        for number, one in numbers.items():
            p = MISSING if one.p is None else f"{one.p:.3f}" if one.p >= 0.001 else "<0.001"
            name = NAMES[number].head.replace("\n", " ").strip()
            table.add_row(quantity, name, NAMES[number].harder, _rho(one), p, str(one.n), str(one.sets))
    return table


def scatter(
    measured: Measured, found: Sequence[Change], quantity: str, results: Mapping[str, Correlation], title: str
) -> Figure:
    """Gain or forgetting against every number, a point for each group of runs and data set.

    Args:
        measured: data set to its numbers.
        found: changes; those of other quantities and of data sets that are not measured are left out.
        quantity: ``gain`` or ``forgetting``.
        results: number to the correlation that is written above its panel.
        title: above the figure.
    """
    sets = list(dict.fromkeys(one.data_set for one in found if one.quantity == quantity and one.data_set in measured))
    with style():
        rows = -(-(len(NUMBERS) + 1) // COLUMNS)  # the last one is the legend
        figure = Figure(figsize=(7.5, 0.4 + 2.4 * rows), layout="constrained")
        *panels, corner = figure.subplots(rows, COLUMNS, sharey=True).flat
        for axes, number in zip(panels, NUMBERS, strict=True):
            _panel(axes, points(measured, found, quantity, number), number, sets)
            axes.set_title(f"ρ = {_rho(results[number])}, n = {results[number].n}")
        for axes in panels[::COLUMNS]:
            axes.set_ylabel(f"{quantity} (points of accuracy)")
        corner.axis("off")
        handles, names = panels[0].get_legend_handles_labels()
        corner.legend(handles, names, loc="center", ncols=1 + len(names) // 11, fontsize="small")
        figure.suptitle(title, parse_math=False)
    return figure


def _panel(axes: Axes, pairs: Sequence[tuple[float, Change]], number: str, sets: Sequence[str]) -> None:
    unit = PERCENT if number == "accuracy" else 1
    for place, data_set in enumerate(sets):
        x = [unit * value for value, one in pairs if one.data_set == data_set]
        y = [PERCENT * one.change for _, one in pairs if one.data_set == data_set]
        look: Any = {"marker": MARKERS[place % len(MARKERS)], "color": f"C{place}", "linewidths": 0.3, "s": 20}
        axes.scatter(x, y, edgecolors="white", label=data_set, zorder=3, **look)
    axes.axhline(0, color=COLOURS["zero_shot"], linewidth=0.9)
    axes.locator_params(axis="x", nbins=4)
    axes.margins(x=0.08)
    axes.set_xlabel(NAMES[number].axis)
