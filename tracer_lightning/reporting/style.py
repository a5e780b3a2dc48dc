"""Common style of all figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tracer_lightning.storage import atomic_file

COLOURS = {"zero_shot": "#8a8a8a", "student": "#333333", "teacher": "#1b6fb5", "published": "#d95f02"}
"""Colours of models; other lines have matplotlib's default colours."""
SERIES_COLOURS = (
    *("#008df9", "#e20134", "#009f81", "#8400cd", "#ff6e3a", "#ff5aaf"),
    *("#00c2f9", "#9f0162", "#ffc33b", "#a40122", "#00fccf", "#ffb2fd"),
)
"""Twelve colours of lines that colour-blind readers can distinguish (Martin Krzywinski's palette, reordered)."""
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
    """Context in which figures are drawn and saved in the common style.

    Args:
        formulas: parse formulas between dollars; off by default, as names from files may contain dollars.
    """
    with mpl.rc_context({**SETTINGS, "text.parse_math": formulas}):
        yield


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format of the path's suffix, with the same bytes for the same figure.

    The layout that the first format was drawn with is kept for others, because to arrange many panels takes seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file_format = path.suffix.removeprefix(".") or "png"
    with atomic_file(path) as partial, mpl.rc_context({"svg.hashsalt": SETTINGS["svg.hashsalt"]}):
        figure.savefig(partial, format=file_format, metadata={"Date": None} if file_format == "svg" else None)
    figure.set_layout_engine("none")
    return path


def save_png_and_svg(figure: Figure, stem: Path) -> list[Path]:
    """Save a figure as ``stem.png`` and ``stem.svg``; returns both paths."""
    return [save(figure, stem.with_name(f"{stem.name}.{suffix}")) for suffix in ("png", "svg")]
