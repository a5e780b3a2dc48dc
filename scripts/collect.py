"""Compare finished runs: ``python scripts/collect.py --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.comparison import CHOICES, STUDENT, Comparison, Place, compare, places
from tracer_lightning.reporting.curves import draw
from tracer_lightning.reporting.formats import latex, markdown, raw, terminal
from tracer_lightning.reporting.plain_commands import Parser, read_groups, say, table_console
from tracer_lightning.reporting.style import save, style
from tracer_lightning.reporting.tables import Section, sections
from tracer_lightning.storage import write_text

WIDTH = 100
"""Columns of output that goes to no terminal."""
EXAMPLES = """examples:
  %(prog)s outputs/digits/2026-01-31_12-00-00
  %(prog)s 'outputs/vitb16_wma/*' --sets all --out tables
  %(prog)s outputs/digits/betas outputs/digits/more_betas --model all --metrics accuracy macro_f1

Runs that are equal but for their seeds are one row, named by the settings that vary among the runs. Runs on the paper's
data sets have the published values beside. A second table has accuracy against each run's own zero-shot accuracy: gain
(after - zero-shot) on ID and on OOD sets, forgetting (mean of max(0, zero-shot - after) over all sets but the ID ones),
and the share of parameters trained. --out writes table.csv (everything, unrounded), table.md, table.tex and, where one
number or the terms vary, curves.png and curves.svg."""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description="Mean and deviation over seeds of runs.", epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folder of a run, or above runs, or a glob pattern")
    parser.add_argument("--model", choices=CHOICES, default=STUDENT, help="whose results (%(default)s)")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="as in results.json (accuracy ece)")
    parser.add_argument("--sets", nargs="+", metavar="SET", help="data sets and averages, or all (ID and avg_ood)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write tables and curves there")
    return parser


def write(out: Path, comparison: Comparison, found: Sequence[Section]) -> list[Path]:
    """Write tables and, where they can be drawn, curves; the files."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {"csv": raw(comparison), "md": markdown(found), "tex": latex(found)}
    for suffix, text in texts.items():
        write_text(out / f"table.{suffix}", text)
    files = [out / f"table.{suffix}" for suffix in texts]
    try:
        with style():
            figure = draw(comparison)
            files += [save(figure, out / f"curves.{suffix}") for suffix in ("png", "svg")]
    except ValueError as error:
        say(f"no curves: {error}")
    return files


def show(comparison: Comparison, shown: Sequence[Place], out: Path | None) -> None:
    """Print the tables, and write them where asked."""
    console = table_console(WIDTH)
    found = sections(comparison, shown)
    for number, (tables, remarks) in enumerate(found):
        if number:
            console.print()
        for block in tables:
            for table in terminal(console, block):
                console.print(table)
        for remark in remarks:
            console.print(remark, markup=False, highlight=False)
    if out is not None:
        for path in write(out, comparison, found):
            say(str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    try:
        args = build_parser().parse_args(arguments)
        groups = read_groups(args.runs)
        comparison = compare(groups, args.model)
        show(comparison, places(comparison, args.sets, args.metrics), args.out)
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", stderr=True)
        return 1
    return 0


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
