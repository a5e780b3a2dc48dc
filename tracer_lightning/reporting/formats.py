"""Tables for the terminal and in Markdown, LaTeX and CSV."""

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
from tracer_lightning.reporting.tables import TableColumn, TableSection, TextTable

SETTING = "setting"
UNLIMITED = 10_000
CSV_HEAD = (
    "model",
    "n",
    "seeds",
    "tags",
    "data_set",
    "metric",
    "mean",
    "std",
    "published",
    "published_table",
    "published_source",
    "difference",
)


def _rich(block: TextTable, columns: Sequence[TableColumn]) -> Table:
    table = Table(title=Text(block.title), title_justify="left", box=box.SIMPLE, pad_edge=False)
    table.add_column(Text(block.heading), overflow="fold")
    table.add_column("n", justify="right", no_wrap=True)
    group = ""
    for column in columns:
        heading = column.group if column.group != group else ""
        table.add_column(Text(f"{heading}\n{column.title}".rstrip("\n")), justify="right", no_wrap=True)
        group = column.group
    for number, names in enumerate(block.rows):
        table.add_row(*map(Text, names), *(Text(column.cells[number]) for column in columns))
    return table


def terminal(console: Console, block: TextTable) -> Iterator[Table]:
    """Yield the table, or several with fewer columns if it is wider than the console."""
    unlimited = console.options.update_width(UNLIMITED)
    columns: list[TableColumn] = []
    for group in block.column_groups():
        if columns and console.measure(_rich(block, [*columns, *group]), options=unlimited).maximum > console.width:
            yield _rich(block, columns)
            columns = []
        columns += group
    yield _rich(block, columns)


def _lines(block: TextTable) -> Iterator[list[str]]:
    """Yield the texts of every row."""
    for number, names in enumerate(block.rows):
        yield [*names, *(column.cells[number] for column in block.columns)]


def _markdown(block: TextTable) -> str:
    header = [block.heading, "n", *(f"{column.group} {column.title}".strip() for column in block.columns)]
    first, *lines = ([marked(text) for text in row] for row in (header, *_lines(block)))
    rows = [first, ["---", *("---:" for _ in header[1:])], *lines]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"**{marked(block.title)}**\n\n{text}"


def markdown(sections: Sequence[TableSection]) -> str:
    """Format the tables of each section, followed by its notes."""
    parts = []
    for tables, notes in sections:
        parts += [*map(_markdown, tables), "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(parts) + "\n"


def _latex(block: TextTable, notes: Sequence[str]) -> Iterator[str]:
    groups = block.column_groups()
    yield r"\begin{table}"
    yield r"  \centering"
    yield rf"  \caption{{{escaped(' '.join([f'{block.title}.', *notes]))}}}"
    yield rf"  \begin{{tabular}}{{lr{'r' * len(block.columns)}}}"
    yield r"    \toprule"
    headings = [rf"\multicolumn{{{len(group)}}}{{c}}{{{escaped(group[0].group)}}}" for group in groups]
    yield f"    {' & '.join(['', '', *headings])} \\\\"
    if any(column.title for column in block.columns):
        start = 3
        rules = []
        for group in groups:
            rules.append(rf"\cmidrule(lr){{{start}-{start + len(group) - 1}}}")
            start += len(group)
        yield f"    {' '.join(rules)}"
    yield f"    {' & '.join([escaped(block.heading), 'n', *(escaped(column.title) for column in block.columns)])} \\\\"
    yield r"    \midrule"
    for row in _lines(block):
        yield f"    {' & '.join(map(escaped, row))} \\\\"
    yield r"    \bottomrule"
    yield r"  \end{tabular}"
    yield r"\end{table}"


def latex(sections: Sequence[TableSection]) -> str:
    r"""Format each table as a ``table`` environment with the notes of its section in the caption."""
    parts = ["\n".join(_latex(block, notes)) for tables, notes in sections for block in tables]
    return "\n\n".join(["% needs \\usepackage{booktabs}", *parts]) + "\n"


def raw(comparison: Comparison) -> str:
    """CSV with a line for every row, dataset and metric: unrounded fractions, empty where unknown.

    The columns are ``setting`` (the row's label), one for every varied setting, and ``CSV_HEAD``. A row's
    :func:`gains` follow its results.
    """
    lines: list[Sequence[Any]] = [[SETTING, *map(title, comparison.keys), *CSV_HEAD]]
    for row in comparison.rows:
        values = [row.settings.get(key) if row.seeds else None for key in comparison.keys]
        row_fields = [
            row.label,
            *values,
            row.model,
            len(row.seeds) or None,
            " ".join(map(str, row.seeds)),
            ", ".join(row.tags),
        ]
        for key, cell in {**row.cells, **gains(row)}.items():
            published = (None, None, None) if cell.published is None else cell.published
            lines.append([*row_fields, *key, cell.mean, cell.std, *published, cell.difference])
    return csv_text(lines)
