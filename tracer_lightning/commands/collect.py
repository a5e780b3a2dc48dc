"""Comparison of finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tracer_lightning.reporting.ablation_curves import draw
from tracer_lightning.reporting.alignment_paths import draw_paths, read_paths
from tracer_lightning.reporting.command_line import say, table_console
from tracer_lightning.reporting.comparison import Comparison, compare, select_results
from tracer_lightning.reporting.comparison_page import Groups, curve_panels, render, scatters
from tracer_lightning.reporting.continual import (
    SequenceRow,
    compare_sequences,
    find_sequences,
    group_sequences,
    sequence_section,
    sequences_csv,
)
from tracer_lightning.reporting.formats import latex, markdown, raw, terminal
from tracer_lightning.reporting.frontier import Frontiers, frontiers
from tracer_lightning.reporting.frontier_figure import draw_frontiers
from tracer_lightning.reporting.frontier_tables import frontier_csv, frontier_sections
from tracer_lightning.reporting.merges import Interpolation, find_interpolations
from tracer_lightning.reporting.runs import RunGroup, read_groups
from tracer_lightning.reporting.style import save_png_and_svg, style
from tracer_lightning.reporting.tables import TableSection, sections
from tracer_lightning.storage import write_text

WIDTH = 100
"""Number of columns where the output does not go to a terminal."""


PAGE = "comparison.html"
FILES = {
    "table.csv": "all results, unrounded",
    "table.md": "the tables in Markdown",
    "table.tex": "the tables in LaTeX",
    "curves.png": "results against the setting that varies",
    "curves.svg": "the same as vector graphics",
    "alignment.png": "paths of embedders through stage 1",
    "alignment.svg": "the same as vector graphics",
}
"""Files that comparisons consist of, besides the page."""


def write(
    folder: Path,
    groups: Sequence[RunGroup],
    comparison: Comparison,
    tables: Sequence[TableSection],
    interpolations: Sequence[Interpolation],
) -> list[Path]:
    """Write tables, curves and paths of stage 1 where possible, and the page; returns the paths of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"csv": raw(comparison), "md": markdown(tables), "tex": latex(tables)}
    for suffix, text in texts.items():
        write_text(folder / f"table.{suffix}", text)
    files = [folder / f"table.{suffix}" for suffix in texts]
    if paths := read_paths(groups):
        with style():
            files += save_png_and_svg(draw_paths(paths), folder / "alignment")
    try:
        with style():
            files += save_png_and_svg(draw(comparison), folder / "curves")
    except ValueError as error:
        say(f"no curves: {error}")
    return [*files, write_page(folder, comparison, tables, interpolations, files)]


def write_page(
    folder: Path,
    comparison: Comparison,
    tables: Sequence[TableSection],
    interpolations: Sequence[Interpolation],
    files: Sequence[Path],
) -> Path:
    """Write the page about a comparison, which links the other files; returns its path."""
    groups = Groups(comparison)
    curves = curve_panels(comparison, groups)
    for warning in curves.unreadable:
        say(f"warning: {warning}", stderr=True)
    page = render(
        comparison,
        tables,
        scatters(comparison, interpolations, groups),
        curves,
        groups,
        folder,
        {path.name: FILES[path.name] for path in files},
    )
    write_text(folder / PAGE, page)
    return folder / PAGE


def show(tables: Sequence[TableSection]) -> None:
    """Print the tables with their notes."""
    console = table_console(WIDTH)
    for number, section in enumerate(tables):
        if number:
            console.print()
        for block in section.tables:
            for table in terminal(console, block):
                console.print(table)
        for note in section.notes:
            console.print(note, markup=False, highlight=False)


def write_frontiers(folder: Path, trade_offs: Frontiers, tables: Sequence[TableSection]) -> list[Path]:
    """Write the points, tables and figures of trade-offs to a folder; returns the paths of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"csv": frontier_csv(trade_offs), "md": markdown(tables)}
    for suffix, text in texts.items():
        write_text(folder / f"frontier.{suffix}", text)
    with style():
        figures = save_png_and_svg(draw_frontiers(trade_offs, trade_offs.roles), folder / "frontier")
        if trade_offs.cells:
            figures += save_png_and_svg(draw_frontiers(trade_offs, trade_offs.cells), folder / "frontier_grid")
    return [*(folder / f"frontier.{suffix}" for suffix in texts), *figures]


def collect_sequences(args: argparse.Namespace) -> bool:
    """Compare the sequences of tasks below the folders; returns whether there are any."""
    sequences, unreadable = find_sequences(args.runs)
    groups, repeated = group_sequences(sequences)
    for warning in (*unreadable, *repeated):
        say(f"warning: {warning}", stderr=True)
    if not groups:
        return False
    rows = compare_sequences(groups, args.model)
    tables = [sequence_section(rows)]
    show(tables)
    if args.out is not None:
        for path in write_sequences(args.out, rows, tables):
            say(str(path))
    return True


def write_sequences(folder: Path, rows: Sequence[SequenceRow], tables: Sequence[TableSection]) -> list[Path]:
    """Write the tables of sequences of tasks to a folder; returns the paths of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"csv": sequences_csv(rows), "md": markdown(tables), "tex": latex(tables)}
    for suffix, text in texts.items():
        write_text(folder / f"continual.{suffix}", text)
    return [folder / f"continual.{suffix}" for suffix in texts]


def read_interpolations(patterns: Sequence[str]) -> list[Interpolation]:
    """Read the interpolations below folders or glob patterns, and warn about each merge that is left out."""
    interpolations, unreadable = find_interpolations(patterns)
    for warning in unreadable:
        say(f"warning: {warning}", stderr=True)
    return interpolations


def collect_frontiers(args: argparse.Namespace) -> None:
    """Read the runs and merges, and compare their trade-offs."""
    for option in ("metrics", "sets"):
        if getattr(args, option) is not None:
            raise ValueError(
                f"--{option}: give this option or --frontier, which compares accuracy on ID and other sets"
            )
    groups = read_groups(args.runs)
    trade_offs = frontiers(groups, read_interpolations(args.runs), args.model)
    tables = frontier_sections(trade_offs)
    show(tables)
    if args.out is not None:
        for path in write_frontiers(args.out, trade_offs, tables):
            say(str(path))


def collect(args: argparse.Namespace) -> None:
    """Read, compare and show the runs."""
    if args.frontier:
        collect_frontiers(args)
        return
    has_sequences = collect_sequences(args)
    groups = read_groups(args.runs, required=not has_sequences)
    if not groups:
        return
    comparison = compare(groups, args.model)
    tables = sections(comparison, select_results(comparison, args.sets, args.metrics))
    show(tables)
    if args.out is not None:
        for path in write(args.out, groups, comparison, tables, read_interpolations(args.runs)):
            say(str(path))
