"""A console that shows texts from files as they are, and obeys nothing in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tracer_lightning.analysis.escaping import printable


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


def _printable_lines(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
