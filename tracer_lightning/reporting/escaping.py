"""Escape texts from files for CSV, Markdown, LaTeX, figures and the terminal."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=\s*[=+\-@＝＋－＠])|^(?=[\t\r\n])")
"""Positions where a spreadsheet may read a formula (OWASP, CSV injection), also if it splits at semicolons or tabs."""
MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|!(?=\[)|^[#=]|^[+-](?=[\s+-]|$)|:(?=//)|(?<=www)\.")
"""Markup that Markdown interprets; it ignores an underscore within a word."""
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # which a preceding line break would take as its argument
    **{"±": r"$\pm$", "–": "--", "−": "$-$", "†": r"$^\dagger$", "<": "$<$", ">": "$>$"},
}


def printable(text: str) -> str:
    """Convert to one line in which control characters and those that reorder text are escaped."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Format rows as CSV that is safe in spreadsheets: ``'`` precedes formulas, numbers are unchanged."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([_csv_value(value) for value in row] for row in rows)
    return stream.getvalue()


def _csv_value(value: Any) -> Any:
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return FORMULA.sub("'", value).replace("\r\n", "\n").replace("\r", "\n")  # quoted, so that it does not end the row


def markdown(text: str) -> str:
    """Escape text for Markdown, in a line or in a cell of a table."""
    plain = NUMBERED.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", printable(text)))
    return "".join(ENTITIES.get(character, character) for character in plain)


def markdown_code(text: str) -> str:
    """Format text as a Markdown code span, with a fence that does not occur in it."""
    plain = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    padding = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def latex(text: str) -> str:
    """Escape text for LaTeX."""
    return "".join(LATEX.get(character, character) for character in printable(text))


def without_formulas(text: str) -> str:
    """Escape text for matplotlib where it parses formulas between dollars."""
    return text.replace("$", r"\$")
