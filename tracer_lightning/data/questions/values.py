"""Values of the rows of files of questions."""

from __future__ import annotations

import ast
import json
from typing import Any

from tracer_lightning.data.core.tables import Fields
from tracer_lightning.data.questions.layouts import Layout, join_keys


def is_missing(value: Any) -> bool:
    """Whether a value is None, an empty list or a blank text."""
    return value is None or value == [] or (isinstance(value, str) and not value.strip())


def required_value(fields: Fields, key: str, column: str, origin: str) -> Any:
    """A value that must not be missing."""
    value = fields.get(key)
    if is_missing(value):
        name = column if key == column else f"{column} ({key})"
        raise ValueError(
            f"{origin}: it has no {name}; its keys are {join_keys(fields)}; add it, or set columns if another key has "
            "it"
        )
    return value


def optional_value(fields: Fields, layout: Layout, column: str) -> Any:
    """A value that may be missing; None where it is, or is blank."""
    value = fields.get(layout[column]) if column in layout else None
    return None if is_missing(value) else value


def optional_text(fields: Fields, layout: Layout, column: str, origin: str) -> str | None:
    """A text that may be missing; None where it is, or is blank."""
    value = optional_value(fields, layout, column)
    return None if value is None else check_text(value, column, origin)


def check_text(value: Any, column: str, origin: str) -> str:
    """Check and strip a text."""
    if not isinstance(value, str):
        raise ValueError(f"{origin}: {column} must be text, got {value!r:.100}; write it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{origin}: {column} has the character {error.object[error.start]!a}, which is no text"
        ) from error
    if not value.strip():
        raise ValueError(f"{origin}: {column} is blank")
    return value.strip()


def parse_list(value: Any) -> Any:
    """Return the list that a text is, as JSON or as Python prints it, since tables have texts only; else the value."""
    if not isinstance(value, str) or not (value.strip().startswith("[") and value.strip().endswith("]")):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value.strip())
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return value
