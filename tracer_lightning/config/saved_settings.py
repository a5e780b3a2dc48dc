"""The settings within a checkpoint: data to compare and to show, and records to make a configuration from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracer_lightning.config.record import Groups
from tracer_lightning.models.open_clip.architecture import explicit_settings
from tracer_lightning.storage.records import StrictRecord, read_record

DEEPEST = 20
"""How deep settings may be nested."""
MOST_SETTINGS = 100_000
"""How many settings a checkpoint may have, list entries included."""
HERE: dict[str, dict[str, Any]] = {"data": {"cache_dir": "${paths.cache}", "suite": "${suite}", "download": False}}
"""What the configuration has in place of some settings of a file: those of this machine are not a file's to say."""


def plain_settings(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings within a checkpoint, compared and shown but not obeyed; {} where it has none.

    Args:
        content: of the checkpoint.
        where: what the user set to name it, and the file, for errors.

    Raises:
        ValueError: they are not nested containers of numbers and texts, or too deep or too many.
    """
    settings = content.get("hyper_parameters", {})
    if not isinstance(settings, dict):
        raise ValueError(f"{where}: its settings are a {type(settings).__name__}, and no run of this project's")
    for count, _ in enumerate(_values(settings, where, 0)):
        if count == MOST_SETTINGS:
            raise ValueError(f"{where}: it has more than {MOST_SETTINGS:,} settings")
    return settings


def _values(node: Any, where: str, depth: int) -> Iterator[Any]:
    """All values of nested containers; ValueError for what a run's settings do not hold."""
    if depth > DEEPEST:
        raise ValueError(f"{where}: its settings are nested more than {DEEPEST} deep")
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


def group_settings(settings: Mapping[str, Any], group: str, where: str) -> dict[str, Any]:
    """The settings of one group, made from the record of what a file says.

    Args:
        settings: of a checkpoint.
        group: ``backbone``, ``peft``, ``data`` or ``suite``.
        where: what the user set to name the file, and the file, for errors.

    Raises:
        ValueError: there are none, or they are not as a run of this project writes them.
    """
    if settings.get(group) is None:
        raise ValueError(f"{where}: its settings have no {group}; set {group}= yourself")
    try:
        record = getattr(read_record(Groups, {group: settings[group]}, f"{where}: its settings"), group)
    except ValueError as error:
        raise ValueError(f"{error}; set {group}= yourself") from error
    plain = (
        {name: _plain(entry) for name, entry in record.items()}
        if isinstance(record, dict)
        else explicit_settings(record)
    )
    return {**plain, **{key: value for key, value in HERE.get(group, {}).items() if key in plain}}


def _plain(entry: StrictRecord | None) -> dict[str, Any] | None:
    return None if entry is None else explicit_settings(entry)
