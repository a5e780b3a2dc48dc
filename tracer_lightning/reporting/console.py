"""Console that prints texts from files literally, without interpreting markup or control characters."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tracer_lightning.reporting.escaping import printable

OURS = (f"{Path(__file__).parents[1]}{os.sep}", f"-packages{os.sep}hydra{os.sep}")
"""Parts of paths of the files to which this package's warnings are attributed: Hydra's, where it makes the objects.

Debian installs into dist-packages instead of site-packages.
"""
REDIRECTED_WIDTH = 160
"""Columns of output that does not go to a terminal, so that logs have whole tables."""
DEFAULT_FORMAT = warnings.formatwarning


class PlainConsole(Console):
    """Console without markup and emoji codes that prints control characters as escapes.

    Rich itself strips a few of them, but not the escape character that starts terminal commands.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)
        if not self.is_terminal and "width" not in options and "COLUMNS" not in os.environ:
            self.width = REDIRECTED_WIDTH

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render to segments whose texts consist of printable characters."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_printable_lines(segment.text))

    def say(self, text: str) -> None:
        """Print one line, however long."""
        self.print(printable(text), highlight=False, soft_wrap=True)


def one_line_warnings() -> None:
    """Show this package's warnings as one line, without their location in the code."""
    warnings.formatwarning = _format_warning


def _format_warning(message: Any, category: type[Warning], filename: str, *args: Any, **kwargs: Any) -> str:
    if any(part in filename for part in OURS):
        return f"warning: {printable(str(message))}\n"
    return DEFAULT_FORMAT(message, category, filename, *args, **kwargs)


def _printable_lines(text: str) -> str:
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
