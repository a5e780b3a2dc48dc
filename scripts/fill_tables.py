"""Fill the pages' result tables of the digits from a file: ``python scripts/fill_tables.py --help``."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.command_line import Parser, run_command
from tracer_lightning.storage import read_text, write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "docs/results/digits.csv"
ID, OOD = "spurious", "avg_ood"
ACCURACY = {"ID accuracy": (ID, "accuracy"), "OOD accuracy": (OOD, "accuracy")}
ERRORS = {"ID ECE": (ID, "ece"), "OOD ECE": (OOD, "ece"), "OOD macro-F1": (OOD, "macro_f1")}
EPILOG = f"""The results are those of the runs named in docs/methods.md:
  python train.py -m run=methods seed=0,1,2 \\
    method=flyp,ft,lp_ft,l2_sp,static_sd,car_ft,lipsum_ft,carot,tracer_ema,tracer
  python train.py -m run=heads method=zs,lp
  python scripts/collect.py outputs/digits/methods outputs/digits/heads --model all --out tables
  grep -E "^setting,|,({ID}|{OOD})," tables/table.csv > {RESULTS}"""
Measured = Mapping[tuple[str, str, str, str], tuple[float, float | None]]
"""Mean and standard deviation by (method, model, dataset, metric)."""


class PageTable(NamedTuple):
    """A Markdown table of results in one of the pages."""

    page: str
    """Path of the page, relative to the repository."""
    mark: str
    """Line above the table."""
    columns: Mapping[str, tuple[str, str]]
    """Dataset and metric by column title."""
    rows: Mapping[str, tuple[str, str]]
    """Method and model by row title; an empty method stands for the model before training."""


BEFORE, STUDENT, TEACHER = ("", "zero_shot"), "student", "teacher"
METHODS = ("lp", "ft", "lp_ft", "car_ft", "lipsum_ft", "flyp", "l2_sp", "static_sd", "carot", "tracer_ema", "tracer")
TABLES = (
    PageTable(
        "docs/demo.md",
        "<!-- table -->",
        {**ACCURACY, **ERRORS},
        {
            "zero-shot (before)": BEFORE,
            "`flyp`": ("flyp", STUDENT),
            "**`tracer`**": ("tracer", STUDENT),
            "its teacher": ("tracer", TEACHER),
            "`tracer_ema` (EMA 0.9)": ("tracer_ema", STUDENT),
            "`static_sd` (features, frozen teacher)": ("static_sd", STUDENT),
        },
    ),
    PageTable(
        "docs/methods.md",
        "<!-- table -->",
        ACCURACY,
        {"`zs`": BEFORE, **{f"`{name}`": (name, STUDENT) for name in METHODS}, "its teacher": ("tracer", TEACHER)},
    ),
)


def read_results(path: Path) -> Measured:
    """Read results in the format of the ``table.csv`` that ``collect.py --out`` writes."""
    rows = list(csv.DictReader(read_text(path).splitlines()))
    return {
        (row["method"], row["model"], row["data_set"], row["metric"]): (
            float(row["mean"]),
            float(row["std"]) if row["std"] else None,
        )
        for row in rows
        if row["mean"]
    }


def percent(values: tuple[float, float | None]) -> str:
    """Format mean and standard deviation, given as fractions, in percent."""
    mean, deviation = values
    return f"{100 * mean:.1f}" if deviation is None else f"{100 * mean:.1f} ± {100 * deviation:.1f}"


def markdown_lines(table: PageTable, measured: Measured) -> Iterator[str]:
    """Lines of the table in Markdown."""
    yield "| | " + " | ".join(table.columns) + " |"
    yield "|" + "---|" * (1 + len(table.columns))
    for name, key in table.rows.items():
        missing = [column for column in table.columns.values() if (*key, *column) not in measured]
        if missing:
            raise ValueError(f"{RESULTS} lacks {missing[0]} of {' '.join(key)}")
        yield f"| {name} | " + " | ".join(percent(measured[*key, *column]) for column in table.columns.values()) + " |"


def replace_table(page: str, table: PageTable, measured: Measured) -> str:
    """Replace the table below the mark in the text of a page."""
    before, mark, after = page.partition(f"{table.mark}\n")
    if not mark:
        raise ValueError(f"{table.page} has no line {table.mark}")
    rest = after.split("\n")
    end = next((number for number, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return before + mark + "\n".join([*markdown_lines(table, measured), *rest[end:]])


def build_parser() -> Parser:
    """Build the parser of the command line."""
    parser = Parser(description=__doc__, epilog=EPILOG)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page has other numbers")
    return parser


def fill_tables(args: argparse.Namespace) -> None:
    """Write the tables into their pages, or check them."""
    measured = read_results(ROOT / RESULTS)
    for table in TABLES:
        page = read_text(ROOT / table.page)
        updated = replace_table(page, table, measured)
        if updated != page and args.check:
            raise ValueError(f"{table.page} has other numbers than {RESULTS}; run scripts/fill_tables.py")
        write_text(ROOT / table.page, updated)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(fill_tables, build_parser(), arguments)


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
