"""Tables for the terminal, as Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tracer_lightning.reporting.comparison import Comparison
from tracer_lightning.reporting.escaping import csv_text
from tracer_lightning.reporting.escaping import latex as escaped
from tracer_lightning.reporting.escaping import markdown as marked
from tracer_lightning.reporting.gains import gains
from tracer_lightning.reporting.settings import title
from tracer_lightning.reporting.tables import Block, Column, Section

SETTING = "setting"
UNLIMITED = 10_000
CSV_HEAD = ("model", "n", "seeds", "data_set", "metric", "mean", "std", "published", "published_table", "difference")


def _rich(block: Block, columns: Sequence[Column]) -> Table:
    table = Table(title=Text(block.title), title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column(SETTING, overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    above = ""
    for column in columns:
        first = column.above if column.above != above else ""
        table.add_column(Text(f"{first}\n{column.head}".rstrip("\n")), justify="right", no_wrap=True)
        above = column.above
    for number, names in enumerate(block.rows):
        table.add_row(*map(Text, names), *(Text(column.cells[number]) for column in columns))
    return table


def terminal(console: Console, block: Block) -> Iterator[Table]:
    """The table, or several of fewer columns where it is wider than the console."""
    unlimited = console.options.update_width(UNLIMITED)
    columns: list[Column] = []
    for group in block.together():
        if columns and console.measure(_rich(block, [*columns, *group]), options=unlimited).maximum > console.width:
            yield _rich(block, columns)
            columns = []
        columns += group
    yield _rich(block, columns)


def _lines(block: Block) -> Iterator[list[str]]:
    """Texts of every row."""
    for number, names in enumerate(block.rows):
        yield [*names, *(column.cells[number] for column in block.columns)]


def _markdown(block: Block) -> str:
    head = [SETTING, "n", *(f"{column.above} {column.head}".strip() for column in block.columns)]
    heads, *lines = ([marked(text) for text in row] for row in (head, *_lines(block)))
    rows = [heads, ["---", *("---:" for _ in head[1:])], *lines]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"**{marked(block.title)}**\n\n{text}"


def markdown(sections: Sequence[Section]) -> str:
    """The tables of each section one below the other, and its notes."""
    parts = []
    for tables, notes in sections:
        parts += [*map(_markdown, tables), "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _latex(block: Block, notes: Sequence[str]) -> Iterator[str]:
    groups = block.together()
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{escaped(' '.join([f'{block.title}.', *notes]))}}}"
    yield rf"  \begin{{tabular}}{{lr{'r' * len(block.columns)}}}"
    yield r"    \toprule"
    above = [rf"\multicolumn{{{len(group)}}}{{c}}{{{escaped(group[0].above)}}}" for group in groups]
    yield f"    {' & '.join(['', '', *above])} \\\\"
    if any(column.head for column in block.columns):
        start = 3
        rules = []
        for group in groups:
            rules.append(rf"\cmidrule(lr){{{start}-{start + len(group) - 1}}}")
            start += len(group)
        yield f"    {' '.join(rules)}"
    yield f"    {' & '.join([SETTING, 'n', *(escaped(column.head) for column in block.columns)])} \\\\"
    yield r"    \midrule"
    for row in _lines(block):
        yield f"    {' & '.join(map(escaped, row))} \\\\"
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def latex(sections: Sequence[Section]) -> str:
    r"""A ``table`` environment for each table, with the notes of its section in its caption."""
    parts = ["\n".join(_latex(block, notes)) for tables, notes in sections for block in tables]
    return "\n\n".join(["% needs \\usepackage{booktabs}", *parts]) + "\n"


def raw(comparison: Comparison) -> str:
    """CSV with a line for every row, data set and metric there is: unrounded fractions, empty where unknown.

    Its columns: ``setting`` (the row's label), one for every varied setting, and ``CSV_HEAD``. A row's :func:`gains`
    follow its results.
    """
    lines: list[Sequence[Any]] = [[SETTING, *map(title, comparison.keys), *CSV_HEAD]]
    for row in comparison.rows:
        values = [row.settings.get(key) if row.seeds else None for key in comparison.keys]
        about = [row.label, *values, row.model, len(row.seeds) or None, " ".join(map(str, row.seeds))]
        for place, cell in {**row.cells, **gains(row)}.items():
            published = (None, None) if cell.published is None else cell.published
            lines.append([*about, *place, cell.mean, cell.std, *published, cell.difference])
    return csv_text(lines)
