"""Test TRACER's theory on linear encoders: ``python scripts/theory.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.plain_commands import table_console
from tracer_lightning.reporting.style import save
from tracer_lightning.studies.theory.claims import ASSUMPTIONS, CLAIMS, GAPS, Check
from tracer_lightning.studies.theory.figures import FIGURES
from tracer_lightning.studies.theory.linear import draw_problem

WIDTH = 140
"""Columns of output that goes to no terminal."""
TABLES = (
    ("Claims", CLAIMS),
    ("What the paper assumes: without it, it is otherwise", ASSUMPTIONS),
    ("What the theory leaves out", GAPS),
)
EPILOG = """The first table has the claims; the second shows for each assumption of the paper that without it the
statement is false; the third shows what the theory does not cover. Exit status 1: something does not hold. --out writes
theory_geometry, theory_gap, theory_bounds and theory_weights as png and svg."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description="Claims of the theory, measured.", epilog=EPILOG)
    parser.add_argument("--seed", type=int, default=0, help="of the random linear problem (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also draw the figures there")
    return parser


def show(console: Console, title: str, checks: Sequence[Check]) -> None:
    """Print one table."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in ("claim", "measured", "bound", "holds"):
        table.add_column(column)
    for check in checks:
        table.add_row(check.claim, check.measured, check.bound, "yes" if check.holds else "NO")
    console.print(table, markup=False, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    args = build_parser().parse_args(arguments)
    problem = draw_problem(args.seed)
    console = table_console(WIDTH)
    held = True
    for title, functions in TABLES:
        checks = [check for function in functions for check in function(problem)]
        show(console, title, checks)
        held = held and all(check.holds for check in checks)
    if args.out is not None:
        for name, draw in FIGURES.items():
            figure = draw(problem)
            for suffix in ("png", "svg"):
                path = save(figure, args.out / f"theory_{name}.{suffix}")
                console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    return 0 if held else 1


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
