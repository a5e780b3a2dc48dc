"""Groups of settings that a checkpoint brings: read into records, from which a configuration is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracer_lightning.config.record import Groups
from tracer_lightning.models.open_clip.architecture import explicit_settings
from tracer_lightning.storage.records import StrictRecord, read_record

LOCAL: dict[str, dict[str, Any]] = {"data": {"cache_dir": "${paths.cache}", "suite": "${suite}", "download": False}}
"""Settings that describe this machine, and so are taken from the configuration instead of the checkpoint, by group."""


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
    return {**plain, **{key: value for key, value in LOCAL.get(group, {}).items() if key in plain}}


def _plain(entry: StrictRecord | None) -> dict[str, Any] | None:
    return None if entry is None else explicit_settings(entry)
