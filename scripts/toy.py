"""Show what each method retains in the toy experiment: ``python scripts/toy.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.command_line import Parser, finished_runs_parser, run_command, say, table_console
from tracer_lightning.reporting.runs import read_groups
from tracer_lightning.reporting.style import save_png_and_svg, style
from tracer_lightning.storage import write_text
from tracer_lightning.studies.toy.arms import accuracy_before, arms
from tracer_lightning.studies.toy.report import panels, toy_markdown, toy_table, tradeoff, write_toy

WIDTH = 130
"""Number of columns where the output does not go to a terminal."""
EXAMPLES = """examples:
  %(prog)s outputs/toy_digits/main --out docs/figures
  %(prog)s outputs/toy_digits/strength --out docs/figures

original: accuracy on the sets of role ood; task: accuracy on those of role id; forgetting: original accuracy before
minus after; gap: mean squared distance between the features of teacher and student over the last tenth of the steps.
Intervals are Student's t at 95%% over seeds. --out draws NAME_panels where only methods vary and NAME_tradeoff where
their strength varies, with NAME the experiment's name; NAME_panels.csv or NAME_tradeoff.csv has the unrounded numbers,
and the .md file the table."""


def build_parser() -> Parser:
    """Build the parser of the command line."""
    parser = finished_runs_parser("What each method retains of the original task, and what it learns.", EXAMPLES)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write table and figure to this folder")
    return parser


def compare_arms(args: argparse.Namespace) -> None:
    """Read the runs, print the table and write the files."""
    groups = read_groups(args.runs)
    methods, before = arms(groups), accuracy_before(groups)
    table_console(WIDTH).print(toy_table(methods, before))
    if args.out is None:
        return
    draw, kind = (tradeoff, "tradeoff") if any(arm.strength for arm in methods) else (panels, "panels")
    stem = args.out / f"{groups[0].runs[0].name}_{kind}"
    with style(formulas=True):
        files = save_png_and_svg(draw(methods, before), stem)
    csv_path, markdown_path = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("csv", "md"))
    write_toy(csv_path, methods)
    write_text(markdown_path, toy_markdown(methods, before))
    for path in (*files, csv_path, markdown_path):
        say(str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(compare_arms, build_parser(), arguments)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
