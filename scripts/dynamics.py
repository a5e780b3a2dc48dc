"""Compare how teacher and student of several runs evolve: ``python scripts/dynamics.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.command_line import Parser, read_groups, run_command, runs_parser, say, table_console
from tracer_lightning.reporting.dynamics import PARTS, STATISTICS, StatisticRow, as_csv, draw, read_dynamics, summarize
from tracer_lightning.reporting.style import save, style
from tracer_lightning.storage import write_text

WIDTH = 140
"""Number of columns where the output does not go to a terminal."""
EXAMPLES = """examples:
  python train.py -m method=tracer,tracer_ema seed=0,1,2 callbacks=teacher_statistics run=gaps
  %(prog)s outputs/digits/gaps --out gaps.png
  %(prog)s outputs/digits/dense 'outputs/digits/sparse/*-tracer-*' --out figures/gaps.svg

Runs that differ only in their seeds share one line, labelled with the settings that vary among the runs: the mean, and
a band from the smallest to the largest value of the seeds. Statistics of batches are averaged over neighbouring steps.
The table has means over the first, the middle and the last tenth of the logged values, with standard deviations over
seeds. Values are logged every callbacks.teacher_statistics.every_n_steps steps; runs without
callbacks=teacher_statistics have no distances. --out writes the figure in the format of its name (png, svg, pdf) and
the unrounded table as a CSV file next to it."""


def build_parser() -> Parser:
    """Build the parser of the command line."""
    parser = runs_parser("Teacher and student over the optimizer steps.", EXAMPLES)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also draw the figure to this file")
    return parser


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(compare_dynamics, build_parser(), arguments)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
