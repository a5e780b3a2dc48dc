"""Overlay how teacher and student of runs developed: ``python scripts/dynamics.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.dynamics import PARTS, STATISTICS, Row, as_csv, draw, read_dynamics, rows
from tracer_lightning.reporting.plain_commands import Parser, read_groups, say, table_console
from tracer_lightning.reporting.style import save, style
from tracer_lightning.storage import write_text

WIDTH = 140
"""Columns of output that goes to no terminal."""
EXAMPLES = """examples:
  python train.py -m method=tracer,tracer_ema seed=0,1,2 callbacks=teacher_statistics run=gaps
  %(prog)s outputs/digits/gaps --out gaps.png
  %(prog)s outputs/digits/dense 'outputs/digits/sparse/*-tracer-*' --out figures/gaps.svg

Runs that are equal but for their seeds are one line, named by the settings that vary among the runs: the mean, and a
band from the least to the greatest of the seeds; statistics of batches are drawn as means of neighbours. The table has
means over the first, the middle and the last tenth of the values logged, with standard deviations over seeds. Values
stand at the steps at which the runs took them (callbacks.teacher_statistics.every_n_steps); runs without
callbacks=teacher_statistics lack distances. --out writes the figure in the format of its name (png, svg, pdf), and the
table, unrounded, as CSV beside it."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description="Teacher and student over the steps.", epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folder of a run, or above runs, or a glob pattern")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also draw the figure there")
    return parser


def show(table: Sequence[Row]) -> None:
    """Print the table, statistics apart from one another."""
    console = table_console(WIDTH)
    shown = Table(box=SIMPLE_HEAD)
    for column in ("statistic", "run", *PARTS):
        shown.add_column(column, justify="right" if column in PARTS else "left", overflow="fold")
    for number, row in enumerate(table):
        first = number == 0 or table[number - 1].statistic != row.statistic
        last = number + 1 == len(table) or table[number + 1].statistic != row.statistic
        numbers = [
            f"{mean:.4g}" + ("" if std is None else f" ± {std:.1g}")
            for mean, std in zip(row.means, row.stds, strict=True)
        ]
        shown.add_row(STATISTICS[row.statistic] if first else "", row.label, *numbers, end_section=last)
    console.print(shown, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    try:
        args = build_parser().parse_args(arguments)
        groups = read_groups(args.runs)
        found = read_dynamics(groups)
        table = rows(found)
        show(table)
        if args.out is not None:
            with style(formulas=True):
                say(str(save(draw(found), args.out)))
            beside = args.out.with_suffix(".csv")
            write_text(beside, as_csv(table))
            say(str(beside))
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", stderr=True)
        return 1
    return 0


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
