"""The toy experiment as a table and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from tracer_lightning.reporting.escaping import csv_text, markdown, without_formulas
from tracer_lightning.reporting.style import COLOURS
from tracer_lightning.storage import write_text
from tracer_lightning.studies.toy.arms import FORGETTING, LATE_GAP, ORIGINAL, TASK, TEACHER, Arm, Interval

PERCENT = (ORIGINAL, TASK, FORGETTING, TEACHER)
COLUMNS = (*PERCENT, LATE_GAP)
HEADINGS = {TEACHER: "teacher's original"}
MARKERS = "osD^vPX*"
LINESTYLES = ("-", "-", "-", "-", "-", "--", ":", "-.")


def _format(interval: Interval | None, percent: bool) -> str:
    if interval is None:
        return "–"
    if percent:
        return f"{100 * interval.mean:.1f}" + ("" if interval.half is None else f" ± {100 * interval.half:.1f}")
    return f"{interval.mean:.5f}" + ("" if interval.half is None else f" ± {interval.half:.5f}")


def toy_rows(arms: Sequence[Arm], before: Mapping[str, float]) -> list[list[str]]:
    """Texts of the table's cells: the header, the model before fine-tuning, and the arms."""
    rows = [["method", "strength", "seeds", *(HEADINGS.get(column, column) for column in COLUMNS)]]
    start = {key: Interval(value, None) for key, value in before.items()}
    rows.append(["before", "", "", *(_format(start.get(column), column in PERCENT) for column in COLUMNS)])
    for arm in arms:
        cells = [_format(arm.values.get(column), column in PERCENT) for column in COLUMNS]
        rows.append([arm.name, arm.strength, str(arm.seeds), *cells])
    has_strength = any(arm.strength for arm in arms)
    columns = [number for number, heading in enumerate(rows[0]) if heading != "strength" or has_strength]
    return [[row[number] for number in columns] for row in rows]


def toy_table(arms: Sequence[Arm], before: Mapping[str, float]) -> Table:
    """Table for the terminal."""
    header, *rows = toy_rows(arms, before)
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.caption = "accuracy and forgetting in percent; gap: squared distance of features; ± 95% interval over seeds"
    for number, name in enumerate(header):
        table.add_column(name, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def toy_markdown(arms: Sequence[Arm], before: Mapping[str, float]) -> str:
    """Table in Markdown."""
    header, *rows = ([*map(markdown, row)] for row in toy_rows(arms, before))
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_toy(path: Path, arms: Sequence[Arm]) -> None:
    """Write unrounded values as CSV with a line for each arm and measure."""
    rows: list[list[Any]] = [["method", "strength", "seeds", "measure", "mean", "half_width_95"]]
    for arm in arms:
        for measure, interval in arm.values.items():
            rows.append([arm.name, arm.strength, arm.seeds, measure, interval.mean, interval.half])
    write_text(path, csv_text(rows))


def _looks(arms: Sequence[Arm]) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style by name."""
    cycle = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
    names = dict.fromkeys(arm.name for arm in arms)
    return {
        name: {
            "color": cycle[n % len(cycle)],
            "marker": MARKERS[n % len(MARKERS)],
            "ls": LINESTYLES[n % len(LINESTYLES)],
        }
        for n, name in enumerate(names)
    }


def _intervals(axes: Axes, arms: Sequence[Arm], looks: Mapping[str, Mapping[str, Any]], measure: str) -> None:
    for number, arm in enumerate(arms):
        interval, look = arm.values[measure], {**looks[arm.name], "ls": "none"}
        axes.errorbar(100 * interval.mean, number, xerr=100 * (interval.half or 0.0), ms=6, capsize=4, **look)
    axes.set(xlabel="accuracy (%)", ylim=(len(arms) - 0.4, -0.6))
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")


def panels(arms: Sequence[Arm], before: Mapping[str, float]) -> Figure:
    """Draw accuracy on the original task and on the new one, and the teacher's gap over steps.

    Args:
        arms: arms with distinct names.
        before: accuracy before fine-tuning.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    original, task, gap = figure.subplots(1, 3)
    looks = _looks(arms)
    _intervals(original, arms, looks, ORIGINAL)
    _intervals(task, arms, looks, TASK)
    original.axvline(100 * before[ORIGINAL], color=COLOURS["zero_shot"], ls=":", zorder=1)
    original.set(title=f"original task (before: {100 * before[ORIGINAL]:.1f})")
    original.set_yticks(range(len(arms)), [without_formulas(arm.name.replace(", ", "\n")) for arm in arms])
    task.set(title=f"colour task (before: {100 * before[TASK]:.1f})")
    task.set_yticks(range(len(arms)), [""] * len(arms))
    gap.set(title="teacher and student apart", xlabel="optimizer step", ylabel="mean squared distance of features")
    gap.set_yscale("log")
    for arm in arms:
        if arm.gap:
            look = {**looks[arm.name], "marker": ""}
            gap.plot(list(arm.gap), list(arm.gap.values()), lw=1.6, label=without_formulas(arm.name), **look)
    if gap.lines:
        gap.legend(fontsize=8)
    return figure


def _strength(arm: Arm) -> float:
    if "," in arm.strength:
        raise ValueError(
            f"{arm.name}: several settings of its strength vary ({arm.strength}); draw runs in which one varies"
        )
    return float(arm.strength or 0)


def tradeoff(arms: Sequence[Arm], before: Mapping[str, float]) -> Figure:
    """Draw accuracy on the original and the new task by strength, and against each other.

    Each method is a line; one without strength is a point in the last panel.
    """
    figure = Figure(figsize=(10, 4.0), layout="constrained")
    original, task, both = figure.subplots(1, 3)
    for name, look in _looks(arms).items():
        points = sorted((arm for arm in arms if arm.name == name), key=_strength)
        kept, learned = ([100 * point.values[key].mean for point in points] for key in (ORIGINAL, TASK))
        drawn = {**look, "ms": 5, "lw": 1.3}
        if len(points) > 1:
            original.plot([_strength(point) for point in points], kept, **drawn)
            task.plot([_strength(point) for point in points], learned, **drawn)
        both.plot(learned, kept, label=without_formulas(name), **drawn)
    for axes, title in ((original, "original task"), (task, "colour task")):
        axes.set(title=title, xscale="log", xlabel="strength (λ; of l2_sp its weight)", ylabel="accuracy (%)")
    for axes in (original, both):
        axes.axhline(100 * before[ORIGINAL], color=COLOURS["zero_shot"], ls=":", zorder=1)
    both.set(title="one against the other", xlabel="colour task (%)", ylabel="original task (%)")
    handles, names = both.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8)
    return figure
