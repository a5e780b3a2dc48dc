"""Frame of the scripts that parse their command line with argparse: errors in one line, runs, tables and figures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from matplotlib.figure import Figure
from rich.console import Console

from tracer_lightning.reporting.console import PlainConsole
from tracer_lightning.reporting.runs import RunGroup, find_runs, group_runs
from tracer_lightning.reporting.style import save


class Parser(argparse.ArgumentParser):
    """Argument parser that keeps the line breaks of its epilog and reports mistakes as ValueError."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        """Raise ValueError, which :func:`run_command` prints in one line."""
        raise ValueError(f"{message}; see {self.prog} --help")


def runs_parser(description: str, epilog: str) -> Parser:
    """Parser of a command that reads finished runs, with ``runs`` as positional arguments."""
    parser = Parser(description=description, epilog=epilog)
    parser.add_argument("runs", nargs="+", metavar="RUNS", help="folder of a run, or above runs, or a glob pattern")
    return parser


def run_command(
    command: Callable[[argparse.Namespace], int | None],
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
) -> int:
    """Run a command and print its ValueError or OSError as one line.

    Args:
        command: called with the parsed arguments; returns an exit status, or None for 0.
        parser: parser of the command line.
        arguments: the command line without the program's name; None for ``sys.argv``.

    Returns:
        The exit status, 1 after an error.
    """
    try:
        return command(parser.parse_args(arguments)) or 0
    except (ValueError, OSError) as error:
        say(f"error: {' '.join(str(error).split())}", stderr=True)
        return 1


def say(line: str, stderr: bool = False) -> None:
    """Print one line, however long."""
    PlainConsole(stderr=stderr).say(line)


def read_groups(patterns: Sequence[str], required: bool = True) -> list[RunGroup]:
    """Group the finished runs below folders or glob patterns, and warn about each run that is left out.

    Args:
        patterns: folders, or glob patterns of them.
        required: whether it is an error if there is no finished run.

    Raises:
        ValueError: as for :func:`find_runs`.
    """
    runs, unreadable = find_runs(patterns, required)
    groups, repeated = group_runs(runs)
    for warning in (*unreadable, *repeated):
        say(f"warning: {warning}", stderr=True)
    return groups


def table_console(width: int) -> Console:
    """Console for tables: as wide as the terminal, or ``width`` columns where the output is redirected."""
    console = PlainConsole()
    if not console.is_terminal:
        console.width = width
    return console


def save_png_and_svg(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as ``stem.png`` and ``stem.svg``; returns both paths."""
    return [save(figure, stem.with_name(f"{stem.name}.{suffix}")) for suffix in ("png", "svg")]
