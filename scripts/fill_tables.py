"""Write the tables of measured digits from one file of results: ``python scripts/fill_tables.py --help``."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.engine.streams import standard_streams
from tracer_lightning.reporting.plain_commands import Parser, say
from tracer_lightning.storage import read_text, write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = "docs/results/digits.csv"
ID, OOD = "spurious", "avg_ood"
ACCURACY = {"ID accuracy": (ID, "accuracy"), "OOD accuracy": (OOD, "accuracy")}
ERRORS = {"ID ECE": (ID, "ece"), "OOD ECE": (OOD, "ece"), "OOD macro-F1": (OOD, "macro_f1")}
EPILOG = f"""The results are those of the runs that README.md names:
  python train.py -m run=methods seed=0,1,2 \\
    method=flyp,ft,lp_ft,l2_sp,static_sd,car_ft,lipsum_ft,carot,tracer_ema,tracer
  python train.py -m run=heads method=zs,lp
  python scripts/collect.py outputs/digits/methods outputs/digits/heads --model all --out tables
  grep -E "^setting,|,({ID}|{OOD})," tables/table.csv > {RESULTS}"""
Measured = Mapping[tuple[str, str, str, str], tuple[float, float | None]]
"""(method, model, data set, metric) to mean and standard deviation."""


class Table(NamedTuple):
    """A table of a page."""

    page: str
    mark: str
    """The line above it."""
    columns: Mapping[str, tuple[str, str]]
    """Head to data set and metric."""
    rows: Mapping[str, tuple[str, str]]
    """Name to method and model; one without a method is the model before training."""


BEFORE, STUDENT, TEACHER = ("", "zero_shot"), "student", "teacher"
METHODS = ("lp", "ft", "lp_ft", "car_ft", "lipsum_ft", "flyp", "l2_sp", "static_sd", "carot", "tracer_ema", "tracer")
TABLES = (
    Table(
        "README.md",
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
    Table(
        "docs/methods.md",
        "<!-- table -->",
        ACCURACY,
        {"`zs`": BEFORE, **{f"`{name}`": (name, STUDENT) for name in METHODS}, "its teacher": ("tracer", TEACHER)},
    ),
)


def read_results(path: Path) -> Measured:
    """What ``collect.py --out`` has written as ``table.csv``."""
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
    """Mean and deviation of fractions, in percent."""
    mean, deviation = values
    return f"{100 * mean:.1f}" if deviation is None else f"{100 * mean:.1f} ± {100 * deviation:.1f}"


def lines(table: Table, measured: Measured) -> Iterator[str]:
    """The table in Markdown."""
    yield "| | " + " | ".join(table.columns) + " |"
    yield "|" + "---|" * (1 + len(table.columns))
    for name, key in table.rows.items():
        missing = [place for place in table.columns.values() if (*key, *place) not in measured]
        if missing:
            raise ValueError(f"{RESULTS} lacks {missing[0]} of {' '.join(key)}")
        yield f"| {name} | " + " | ".join(percent(measured[*key, *place]) for place in table.columns.values()) + " |"


def filled(page: str, table: Table, measured: Measured) -> str:
    """The page with the table in the place of the one under its mark."""
    before, mark, after = page.partition(f"{table.mark}\n")
    if not mark:
        raise ValueError(f"{table.page} has no line {table.mark}")
    rest = after.split("\n")
    end = next((number for number, line in enumerate(rest) if not line.startswith("|")), len(rest))
    return before + mark + "\n".join([*lines(table, measured), *rest[end:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = Parser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 where a page has other numbers")
    try:
        args = parser.parse_args(arguments)
        measured = read_results(ROOT / RESULTS)
        for table in TABLES:
            page = read_text(ROOT / table.page)
            new = filled(page, table, measured)
            if new != page and args.check:
                raise ValueError(f"{table.page} has other numbers than {RESULTS}; run scripts/fill_tables.py")
            write_text(ROOT / table.page, new)
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", stderr=True)
        return 1
    return 0


if __name__ == "__main__":
    with standard_streams():
        sys.exit(main())
