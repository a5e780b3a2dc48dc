"""Reading rows of JSON Lines, JSON, CSV and TSV files."""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tracer_lightning.storage import check_regular, check_utf8, decode_text

Fields = Mapping[str, Any]
"""Values of a row by key."""
Rows = Iterator[tuple[int, Fields]]
"""Rows, each with the number of its line or, in a JSON list, of its object; both are counted from 1."""

SEPARATORS: Mapping[str, str] = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
"""Plural names of separators that are recognised."""


def _json_lines(file: Path) -> Rows:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if text := decode_text(line, file, number).strip():
                yield number, _check_object(_parse(text, file, number), f"{file}, line {number}")


def _json_list(file: Path) -> Rows:
    content = _parse(decode_text(file.read_bytes(), file), file)
    if not isinstance(content, list):
        raise ValueError(f"{file} must be a list of objects; write one object per line into a .jsonl file otherwise")
    for number, entry in enumerate(content, 1):
        yield number, _check_object(entry, f"{file}, row {number}")


def _csv_lines(file: Path, separator: str | None) -> Rows:
    check_utf8(file)
    with file.open(encoding="utf-8-sig", newline="") as stream:
        if separator is None:
            separator = sniff_separator(stream.readline())
            stream.seek(0)
        quoting: Any = csv.QUOTE_MINIMAL
        if separator == "\t" and (unmatched := _unmatched_quote(stream)) is not None:
            quoting = csv.QUOTE_NONE
            warnings.warn(
                f"{file}: quotation marks are read as parts of the values, because one in line {unmatched} is not "
                "matched",
                stacklevel=2,
            )
        reader = csv.DictReader(stream, strict=True, delimiter=separator, quoting=quoting)
        line = 1
        try:
            names = reader.fieldnames or ()
            if len(set(names)) < len(names):
                raise ValueError(f"{file}, line 1: two columns have the same name; found {', '.join(names)}")
            line = reader.line_num + 1
            for row in reader:
                if None in row or None in row.values():
                    raise ValueError(
                        f"{file}, line {line}: it does not have as many values as the first line; put values with "
                        f"{SEPARATORS.get(separator, repr(separator))} in double quotes"
                    )
                yield line, row
                line = reader.line_num + 1
        except csv.Error as error:
            if "limit" in str(error):
                reason = f"a value has more than {csv.field_size_limit():,} characters"
            else:
                reason = "a quotation mark at the beginning of a value is not matched at its end"
            raise ValueError(
                f"{file}, line {line}: {reason}; put values with quotation marks in double quotes, and double those "
                'within them, as in "a ""big"" dog"'
            ) from error


def _unmatched_quote(stream: TextIO) -> int | None:
    """First line of a tab-separated table that breaks CSV's rules of quoting, as many programs do; None without one."""
    reader = csv.reader(stream, strict=True, delimiter="\t")
    line, joined = 1, None
    try:
        for row in reader:
            if joined is None and any("\t" in value and "\n" in value for value in row):
                joined = line  # perhaps by a mark at the beginning of a value and another at the end of a later one
            line = reader.line_num + 1
    except csv.Error:
        return line
    finally:
        stream.seek(0)
    return joined if joined is not None and _has_a_row_per_line(stream) else None


def _has_a_row_per_line(stream: TextIO) -> bool:
    """Whether all lines of a table that are not blank have as many tabs."""
    counts = {line.count("\t") for line in stream if line.strip()}
    stream.seek(0)
    return len(counts) == 1


def sniff_separator(header: str) -> str:
    """Return the separator that occurs most often in the first line of a table; a comma where none occurs."""
    return max(SEPARATORS, key=header.count)


def _parse(text: str, file: Path, line: int | None = None) -> Any:
    """Parse JSON; ``line`` is the number of the text's only line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{file}, line {error.lineno if line is None else line}"
        raise ValueError(f"{where}: invalid JSON at character {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, and thousands of brackets
        where = str(file) if line is None else f"{file}, line {line}"
        raise ValueError(f"{where}: JSON that can't be read: {error}") from error


def _check_object(entry: Any, where: str) -> Fields:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: a row must be an object such as {{...}} with keys and values")
    return entry


READERS: Mapping[str, Callable[[Path], Rows]] = {".jsonl": _json_lines, ".json": _json_list}
"""Readers of JSON files by their suffix."""
TABLES = (".csv", ".tsv")
"""Suffixes of tables whose first line has the names of the columns."""
SUFFIXES = (*READERS, *TABLES)
"""Suffixes of files that can be read."""


def read_table(file: Path, separator: str | None = None) -> Iterator[tuple[str, Fields]]:
    """Yield the rows of a file, each with its location for messages, such as ``mine.jsonl, line 3``.

    Rows of ``.jsonl`` files are objects, one per line, and those of ``.json`` files a list of objects; ``.csv`` and
    ``.tsv`` files have the keys in their first line.

    Args:
        file: the file.
        separator: character between the columns of ``.csv`` and ``.tsv`` files; None for the most frequent one of
            ``SEPARATORS`` in the first line.

    Raises:
        ValueError: the file is missing, no regular file, of another kind, not UTF-8, or has no rows; a row is invalid.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{file} must be a file of one of the kinds {', '.join(SUFFIXES)}")
    try:
        check_regular(file)
        unit = "row" if suffix == ".json" else "line"
        is_empty = True
        for number, fields in _rows(file, suffix, separator):
            is_empty = False
            yield f"{file}, {unit} {number}", fields
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from error
    if is_empty:
        raise ValueError(f"{file} is empty; it must have at least one row")


def _rows(file: Path, suffix: str, separator: str | None) -> Rows:
    return READERS[suffix](file) if suffix in READERS else _csv_lines(file, separator)
