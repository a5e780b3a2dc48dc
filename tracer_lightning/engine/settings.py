"""Resolved settings as plain nested dictionaries: compared between processes and with those in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MAX_DEPTH = 20
"""Greatest depth of nesting that a checkpoint's settings may have."""
MAX_SETTINGS = 100_000
"""Greatest number of settings in a checkpoint, list entries included."""
MAX_SHOWN = 100
"""Number of characters of a value that messages show."""


def without_nulls(settings: Any) -> Any:
    """Nested settings without those that are None: None and absent are equivalent."""
    if isinstance(settings, dict):
        return {name: without_nulls(value) for name, value in settings.items() if value is not None}
    return settings


def flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested settings."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shortened(value: Any) -> str:
    """The value's representation, cut to fit into a message of one line."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def saved_settings(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings in a checkpoint, which are compared and shown but never instantiated; {} where it has none.

    Args:
        content: content of the checkpoint.
        where: setting and file that messages name.

    Raises:
        ValueError: they are not nested containers of numbers and strings, or nested too deeply, or too many.
    """
    settings = content.get("hyper_parameters", {})
    if not isinstance(settings, dict):
        raise ValueError(f"{where}: its settings are a {type(settings).__name__}, and no run of this project's")
    for count, _ in enumerate(_values(settings, where, 0)):
        if count == MAX_SETTINGS:
            raise ValueError(f"{where}: it has more than {MAX_SETTINGS:,} settings")
    return settings


def _values(node: Any, where: str, depth: int) -> Iterator[Any]:
    """All values in nested containers; ValueError for types that a run's settings do not have."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{where}: its settings are nested more than {MAX_DEPTH} deep")
    if isinstance(node, dict):
        if not all(isinstance(key, str) and key.isprintable() for key in node):
            raise ValueError(f"{where}: a key of its settings is no plain text")
        for value in node.values():
            yield from _values(value, where, depth + 1)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, where, depth + 1)
    elif not isinstance(node, str | bool | int | float | None):
        raise ValueError(f"{where}: its settings hold a {type(node).__name__}")
    yield node
