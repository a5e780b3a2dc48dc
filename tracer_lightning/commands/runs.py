"""List of finished runs with their main results."""

from __future__ import annotations

import argparse
import statistics
import sys

from rich.box import SIMPLE
from rich.measure import Measurement
from rich.table import Table

from tracer_lightning.reporting.command_line import say, table_console
from tracer_lightning.reporting.escaping import printable
from tracer_lightning.reporting.model_choices import STUDENT, ZERO_SHOT
from tracer_lightning.reporting.runs import Run, Scores, find_runs
from tracer_lightning.reporting.settings import METHOD
from tracer_lightning.reporting.tables import format_number
from tracer_lightning.scores import ROLE_TITLES

WIDTH = 120
"""Number of columns where the output does not go to a terminal."""


def list_runs(args: argparse.Namespace) -> None:
    """Print a line for each finished run and, unless runs are chosen by tags, for each unfinished one."""
    runs, unfinished = find_runs(args.runs, required=False)
    where = ", ".join(args.runs)
    if args.tags:
        runs, unfinished = [run for run in runs if set(args.tags) <= set(run.tags)], []
        where = f"{where} with the tags {', '.join(args.tags)}"
    has_tags = any(run.tags for run in runs)
    table = Table("run", *(["tags"] if has_tags else []), "method", "seed", "metric", box=SIMPLE, pad_edge=False)
    for title in ROLE_TITLES.values():
        table.add_column(title, justify="right")
    for run in runs:
        metric = run.metrics[0]
        table.add_row(
            printable(str(run.folder)),
            *([printable(", ".join(run.tags))] if has_tags else []),
            printable(str(run.settings.get(METHOD, "–"))),
            str(run.seed),
            printable(metric.title),
            *(_change(run, role) for role in ROLE_TITLES),
        )
    if runs:
        console = table_console(WIDTH)
        if not console.is_terminal:  # whole names, to copy them
            console.width = max(
                WIDTH, Measurement.get(console, console.options.update(max_width=sys.maxsize), table).maximum
            )
        console.print(table)
        say("The student's mean over the sets of each role, and the change against the model before training.")
    for line in unfinished:
        say(line)
    if not runs and not unfinished:
        say(f"no runs in {where}")


def _change(run: Run, role: str) -> str:
    """Mean of the primary metric over the sets of a role, with its change by training."""
    metric = run.metrics[0]
    after, before = (_mean(run.scores.get(model, {}), role, metric.name) for model in (STUDENT, ZERO_SHOT))
    if after is None:
        return "–"
    change = "" if before is None else f" ({format_number(after - before, metric, 1, '+')})"
    return f"{format_number(after, metric, 1)}{change}"


def _mean(scores: Scores, role: str, metric: str) -> float | None:
    values = [entry[metric] for entry in scores.values() if entry.get("role") == role and entry.get(metric) is not None]
    return statistics.fmean(values) if values else None
