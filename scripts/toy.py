"""What methods keep in the toy experiment: ``python scripts/toy.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.plain_commands import Parser, read_groups, say, table_console
from tracer_lightning.reporting.style import save, style
from tracer_lightning.storage import write_text
from tracer_lightning.studies.toy.arms import arms, before
from tracer_lightning.studies.toy.report import panels, toy_markdown, toy_table, tradeoff, write_toy

WIDTH = 130
"""Columns of output that goes to no terminal."""
EXAMPLES = """examples:
  %(prog)s outputs/toy_digits/main --out docs/figures
  %(prog)s outputs/toy_digits/strength --out docs/figures

original: accuracy on sets of role ood; task: on those of role id; forgetting: original accuracy before less after; gap:
mean squared distance of the features of teacher and student, over the last tenth of the steps. Intervals are Student's
t at 95%% over seeds. Where only methods differ, --out draws NAME_panels; where their strength does, NAME_tradeoff. NAME
is that of the experiment; NAME_panels.csv or NAME_tradeoff.csv has the numbers unrounded, .md the table."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description="What is kept and what is learned.", epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folder of a run, or above runs, or a glob pattern")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write table and figure there")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    try:
        args = build_parser().parse_args(arguments)
        groups = read_groups(args.runs)
        found, start = arms(groups), before(groups)
        table_console(WIDTH).print(toy_table(found, start))
        if args.out is not None:
            by_strength = any(arm.strength for arm in found)
            stem = f"{groups[0].runs[0].name}_{'tradeoff' if by_strength else 'panels'}"
            with style(formulas=True):
                figure = (tradeoff if by_strength else panels)(found, start)
                files = [save(figure, args.out / f"{stem}.{suffix}") for suffix in ("png", "svg")]
            numbers, table = args.out / f"{stem}.csv", args.out / f"{stem}.md"
            write_toy(numbers, found)
            write_text(table, toy_markdown(found, start))
            for path in (*files, numbers, table):
                say(str(path))
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", stderr=True)
        return 1
    return 0


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
