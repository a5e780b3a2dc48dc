"""Texts that come from files, in CSV, Markdown, LaTeX, figures and on the terminal: there they remain texts."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
FORMULA = re.compile(r"(?:^|(?<=[;\t\r\n]))(?=\s*[=+\-@＝＋－＠])|^(?=[\t\r\n])")
"""Where a spreadsheet would find a formula (OWASP, CSV injection), one that splits at semicolons or tabs, too."""
MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|!(?=\[)|^[#=]|^[+-](?=[\s+-]|$)|:(?=//)|(?<=www)\.")
"""What Markdown obeys; an underscore within a word is none of it."""
NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # which a line break before them takes for its own
    **{"±": r"$\pm$", "–": "--", "−": "$-$", "†": r"$^\dagger$", "<": "$<$", ">": "$>$"},
}


def printable(text: str) -> str:
    """One line, in which control characters and those that reorder text are written as escapes."""
    return "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in text)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """CSV for people: ``'`` stands before what a spreadsheet would take for a formula; numbers are as they are."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return FORMULA.sub("'", value).replace("\r\n", "\n").replace("\r", "\n")  # which is quoted, and no end of the row


def markdown(text: str) -> str:
    """Text as Markdown shows it, in a line or a cell of a table."""
    plain = NUMBERED.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", printable(text)))
    return "".join(ENTITIES.get(character, character) for character in plain)


def markdown_code(text: str) -> str:
    """Text as a span of code, in quotes that it does not hold."""
    plain = printable(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", plain)), default=0))
    padding = " " if plain.startswith("`") or plain.endswith("`") else ""
    return f"{fence}{padding}{plain}{padding}{fence}"


def latex(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(LATEX.get(character, character) for character in printable(text))


def without_formulas(text: str) -> str:
    """Text as matplotlib draws it where it looks for formulas between dollars."""
    return text.replace("$", r"\$")
