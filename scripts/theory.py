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
from tracer_lightning.reporting.command_line import Parser, run_command, say, table_console
from tracer_lightning.reporting.style import save_png_and_svg
from tracer_lightning.studies.theory.claims import ASSUMPTIONS, CLAIMS, GAPS, Check
from tracer_lightning.studies.theory.figures import FIGURES
from tracer_lightning.studies.theory.linear import draw_problem

WIDTH = 140
"""Number of columns where the output does not go to a terminal."""
TABLES = (
    ("Claims", CLAIMS),
    ("What the paper assumes: without it, some statements fail", ASSUMPTIONS),
    ("What the theory leaves out", GAPS),
)
EPILOG = """The first table has the claims; the second shows that each statement is false without the paper's
assumption; the third shows what the theory does not cover. The exit status is 1 if a check fails. --out writes
theory_geometry, theory_gap, theory_bounds and theory_weights as PNG and SVG."""


def build_parser() -> Parser:
    """Build the parser of the command line."""
    parser = Parser(description="Claims of the theory, measured.", epilog=EPILOG)
    parser.add_argument("--seed", type=int, default=0, help="seed of the random linear problem (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also draw the figures to this folder")
    return parser


def show(console: Console, title: str, checks: Sequence[Check]) -> None:
    """Print one table."""
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in ("claim", "measured", "bound", "holds"):
        table.add_column(column)
    for check in checks:
        table.add_row(check.claim, check.measured, check.bound, "yes" if check.holds else "NO")
    console.print(table, markup=False, highlight=False)


def check_theory(args: argparse.Namespace) -> int:
    """Check all claims; returns 1 if one does not hold."""
    problem = draw_problem(args.seed)
    console = table_console(WIDTH)
    all_hold = True
    for title, claims in TABLES:
        checks = [check for claim in claims for check in claim(problem)]
        show(console, title, checks)
        all_hold = all_hold and all(check.holds for check in checks)
    if args.out is not None:
        for name, draw in FIGURES.items():
            for path in save_png_and_svg(draw(problem), args.out / f"theory_{name}"):
                say(str(path))
    return 0 if all_hold else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(check_theory, build_parser(), arguments)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
