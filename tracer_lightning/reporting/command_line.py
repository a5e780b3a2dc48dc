"""Frame of the commands that parse their command line with argparse: errors in one line, and tables.

This module imports nothing heavy, so that --help is quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rich.console import Console

from tracer_lightning.reporting.console import PlainConsole


class Parser(argparse.ArgumentParser):
    """Argument parser that keeps the line breaks of its epilog and reports mistakes as ValueError."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        """Raise ValueError, which :func:`run_command` prints in one line."""
        raise ValueError(f"{message}; see {self.prog} --help")


def finished_runs_parser(description: str, epilog: str, program: str | None = None) -> Parser:
    """Parser of a command that reads finished runs, with ``runs`` as positional arguments."""
    parser = Parser(prog=program, description=description, epilog=epilog)
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


def table_console(width: int) -> Console:
    """Console for tables: as wide as the terminal, or ``width`` columns where the output is redirected."""
    console = PlainConsole()
    if not console.is_terminal:
        console.width = width
    return console
