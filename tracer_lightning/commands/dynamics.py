"""Comparison of how teacher and student of several runs evolve."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.reporting.command_line import say, table_console
from tracer_lightning.reporting.dynamics import PARTS, STATISTICS, StatisticRow, as_csv, draw, read_dynamics, summarize
from tracer_lightning.reporting.runs import read_groups
from tracer_lightning.reporting.style import save, style
from tracer_lightning.storage import write_text

WIDTH = 140
"""Number of columns where the output does not go to a terminal."""


def show(rows: Sequence[StatisticRow]) -> None:
    """Print the table with a rule between statistics."""
    table = Table(box=SIMPLE_HEAD)
    for column in ("statistic", "run", *PARTS):
        table.add_column(column, justify="right" if column in PARTS else "left", overflow="fold")
    for number, row in enumerate(rows):
        first = number == 0 or rows[number - 1].statistic != row.statistic
        last = number + 1 == len(rows) or rows[number + 1].statistic != row.statistic
        numbers = [
            f"{mean:.4g}" + ("" if std is None else f" ± {std:.1g}")
            for mean, std in zip(row.means, row.stds, strict=True)
        ]
        table.add_row(STATISTICS[row.statistic] if first else "", row.label, *numbers, end_section=last)
    table_console(WIDTH).print(table, markup=False, highlight=False)


def compare_dynamics(args: argparse.Namespace) -> None:
    """Read the runs, print the table and write the files."""
    dynamics = read_dynamics(read_groups(args.runs))
    rows = summarize(dynamics)
    show(rows)
    if args.out is not None:
        with style(formulas=True):
            say(str(save(draw(dynamics), args.out)))
        csv_path = args.out.with_suffix(".csv")
        write_text(csv_path, as_csv(rows))
        say(str(csv_path))
