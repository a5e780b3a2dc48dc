"""How all figures look."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tracer_lightning.storage import atomic_file

COLOURS = {"zero_shot": "#8a8a8a", "student": "#333333", "teacher": "#1b6fb5", "published": "#d95f02"}
"""Of models; other lines have matplotlib's own."""
SETTINGS: Any = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "tracer-lightning",
    "savefig.dpi": 160,
}


@contextmanager
def style(formulas: bool = False) -> Iterator[None]:
    """Draw and save within.

    Args:
        formulas: whether texts may hold formulas between dollars; names that come from files may hold dollars, too.
    """
    with mpl.rc_context({**SETTINGS, "text.parse_math": formulas}):
        yield


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format that the name ends with, the same bytes for the same figure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = path.suffix.removeprefix(".") or "png"
    with atomic_file(path) as partial:
        figure.savefig(partial, format=form, metadata={"Date": None} if form == "svg" else None)
    return path
