"""A console that shows texts from files as they are, and obeys nothing in them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tracer_lightning.reporting.escaping import printable

PACKAGE = Path(__file__).parents[1]
USUAL = warnings.formatwarning


class PlainConsole(Console):
    """A console without markup and emoji codes, on which control characters of a text are seen instead of obeyed.

    Rich itself strips a few of them, but not the escape that begins a terminal's commands.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of it, with texts in printable characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_printable_lines(segment.text))

    def say(self, text: str) -> None:
        """Print one line, however long."""
        self.print(printable(text), highlight=False, soft_wrap=True)


def one_line_warnings() -> None:
    """Show our own warnings as one line, without the place in the code that they come from."""
    warnings.formatwarning = _formatted


def _formatted(message: Any, category: type[Warning], filename: str, *place: Any, **line: Any) -> str:
    if Path(filename).is_relative_to(PACKAGE):
        return f"warning: {printable(str(message))}\n"
    return USUAL(message, category, filename, *place, **line)


def _printable_lines(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
