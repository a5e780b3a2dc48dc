"""Groups of settings that a checkpoint brings, from which a configuration is made.

Those of this package's own classes are read into records, and those of other classes are compared with the user's YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracer_lightning.config.options import class_options, trusted_settings
from tracer_lightning.config.record import RECORDED, Groups
from tracer_lightning.config.type_checks import TARGET
from tracer_lightning.models.open_clip.architecture import explicit_settings
from tracer_lightning.storage.records import StrictRecord, read_record

LOCAL: dict[str, dict[str, Any]] = {"data": {"cache_dir": "${paths.cache}", "suite": "${suite}", "download": False}}
"""Settings that describe this machine, and so are taken from the configuration instead of the checkpoint, by group."""
OF_TRAINING: dict[str, tuple[str, ...]] = {"data": ("mix",)}
"""Settings of training alone, which a checkpoint does not bring, by group."""
EVALUATION, SUITE = "evaluation", "test_suite"
"""Group of which a checkpoint brings the suite alone, and key of the suite."""


def group_settings(settings: Mapping[str, Any], group: str, where: str) -> dict[str, Any]:
    """The settings of one group, made from what a file says.

    Args:
        settings: settings of a checkpoint.
        group: ``backbone``, ``peft``, ``embedder``, ``data``, ``suite`` or ``evaluation``.
        where: what the user set to name the file, and the file, for errors.

    Raises:
        ValueError: there are none, or they don't have the form that a run writes.
    """
    if settings.get(group) is None:
        raise ValueError(f"{where}: its settings have no {group}; set {group}= yourself")
    settings = {**settings, group: _without_training(settings[group], group)}
    try:
        if names_own_class(settings, group):
            return _own_settings(settings, group)
        record = getattr(read_record(Groups, {group: settings[group]}, "its settings"), group)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; set {group}= yourself") from error
    plain = (
        {name: _plain(entry) for name, entry in record.items()}
        if isinstance(record, dict)
        else explicit_settings(record)
    )
    return {**plain, **{key: value for key, value in LOCAL.get(group, {}).items() if key in plain}}


def _without_training(node: Any, group: str) -> Any:
    """A group without settings that only training uses."""
    if not isinstance(node, Mapping):
        return node
    return {name: value for name, value in node.items() if name not in OF_TRAINING.get(group, ())}


def names_own_class(settings: Mapping[str, Any], group: str) -> bool:
    """Whether a group of a checkpoint's settings names a class or function outside this package's records."""
    key, node = _class_node(settings, group)
    target = node.get(TARGET) if isinstance(node, Mapping) else None
    return key in RECORDED and isinstance(target, str) and target not in RECORDED[key]


def _class_node(settings: Mapping[str, Any], group: str) -> tuple[str, Any]:
    """Key and content of the node with the class that a group is about."""
    node = settings.get(group)
    if group != EVALUATION:
        return group, node
    return f"{EVALUATION}.{SUITE}", node.get(SUITE) if isinstance(node, Mapping) else None


def _own_settings(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    """The settings of a class of the user's own, without those of ``evaluation`` beside the suite."""
    key, node = _class_node(settings, group)
    options = class_options(group, SUITE if group == EVALUATION else None, node[TARGET])
    values = trusted_settings(node, options, key, LOCAL.get(group, {}))
    return {SUITE: values} if group == EVALUATION else values


def _plain(entry: StrictRecord | None) -> dict[str, Any] | None:
    return None if entry is None else explicit_settings(entry)
