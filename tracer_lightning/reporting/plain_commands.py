"""What scripts with a plain command line have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from rich.console import Console

from tracer_lightning.reporting.console import PlainConsole
from tracer_lightning.reporting.runs import Group, find_runs, group_runs


class Parser(argparse.ArgumentParser):
    """Reports mistakes like all others, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise ValueError."""
        raise ValueError(f"{message}; see {self.prog} --help")


def say(line: str, stderr: bool = False) -> None:
    """One line of output, however long."""
    PlainConsole(stderr=stderr).say(line)


def read_groups(patterns: Sequence[str]) -> list[Group]:
    """The finished runs below these folders or patterns, equal ones together; what is left out is said.

    Raises:
        ValueError: as for :func:`find_runs`.
    """
    runs, unread = find_runs(patterns)
    groups, repeated = group_runs(runs)
    for warning in (*unread, *repeated):
        say(f"warning: {warning}", stderr=True)
    return groups


def table_console(width: int) -> Console:
    """The terminal, or so many columns of a file."""
    console = PlainConsole()
    if not console.is_terminal:
        console.width = width
    return console
