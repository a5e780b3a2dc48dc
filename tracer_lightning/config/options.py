"""Settings of a checkpoint for classes outside this package: they must match an option of the user's own YAML files.

A checkpoint names no callable: whatever is instantiated is named by a YAML file on Hydra's search path (``conf`` or
``--config-dir``), which belongs to the user. The checkpoint only gives plain values in the places where that file has
values of the same type.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.composition import COMPOSITION_ERRORS
from tracer_lightning.config.type_checks import MAX_INT, TARGET
from tracer_lightning.engine.settings import shortened
from tracer_lightning.storage.records import LONGEST_TEXT, check_literal


def class_options(group: str, key: str | None, target: str) -> Iterator[dict[str, Any]]:
    """Unresolved settings of a class in each option of a group on Hydra's search path; none outside a Hydra job.

    Options that can't be composed on their own are skipped.

    Args:
        group: name of the group.
        key: key of the class's settings in the group; None for the group itself.
        target: ``_target_`` of the class.
    """
    if not GlobalHydra.instance().is_initialized():
        return
    search_path = list(HydraConfig.get().searchpath) if HydraConfig.initialized() else []
    overrides = [f"hydra.searchpath=[{','.join(repr(path) for path in search_path)}]"] if search_path else []
    loader: Any = GlobalHydra.instance().config_loader()
    names = loader.get_group_options(group, ObjectType.CONFIG, None, overrides)
    files = {name: loader.repository.load_config(f"{group}/{name}") for name in names}
    targets = {name: None if file is None else _node(file.config, key).get(TARGET) for name, file in files.items()}
    # composing takes time: options that inherit a target come last, and those with another one are left out
    for wanted in (target, None):
        for name in (name for name in names if targets[name] == wanted):
            try:
                # a suite, because options of data may override that group
                cfg = compose(None, [*overrides, "+suite=own", f"+{group}={name}"])
            except COMPOSITION_ERRORS:
                continue
            option = _node(cfg.get(group), key)
            if option.get(TARGET) == target:
                yield option


def _node(cfg: DictConfig | None, key: str | None) -> dict[str, Any]:
    """The unresolved settings at a key, or of the whole configuration; empty where there are none."""
    settings: Any = None if cfg is None else OmegaConf.to_container(cfg, resolve=False)
    node = settings.get(key) if key is not None and isinstance(settings, dict) else settings
    return node if isinstance(node, dict) else {}


def trusted_settings(
    settings: Mapping[str, Any], options: Iterable[Mapping[str, Any]], key: str, local: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a node with a ``_target_``, if one of the options has the same target and form.

    Args:
        settings: node of a checkpoint's settings.
        options: the same node of each option that the user has with this target.
        key: key of the node, for errors.
        local: settings that describe this machine, to the interpolations that give them; where an option has such an
            interpolation, it replaces the checkpoint's value.

    Raises:
        ValueError: no option has this target, or the settings differ from the option in their keys or types, or name
            another class in it, or hold interpolations.
    """
    errors = []
    for option in options:
        interpolations = {name: local[name] for name in settings if name in local and option.get(name) == local[name]}
        values = {name: value for name, value in settings.items() if name not in interpolations}
        try:
            _check_plain(values, key)
            _check_form(values, option, key)
        except ValueError as error:
            errors.append(error)
        else:
            return {**values, **interpolations}
    if errors:
        raise errors[0]
    raise ValueError(
        f"{key}.{TARGET}={shortened(settings[TARGET])} is not in this package, and no option of "
        f"{key.partition('.')[0]} on Hydra's search path names it (give the folder of your YAML files as --config-dir)"
    )


def _check_plain(value: Any, key: str) -> None:
    """Raise ValueError for interpolations, unprintable or long text, and infinite or huge numbers."""
    if isinstance(value, dict):
        for name, entry in value.items():
            _check_plain(name, f"a key of {key}")
            _check_plain(entry, f"{key}.{name}")
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            _check_plain(entry, f"{key}.{number}")
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise ValueError(f"{key}: {len(value):,} characters, of at most {LONGEST_TEXT:,}")
        try:
            check_literal(value)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    elif isinstance(value, int | float):
        if abs(value) > MAX_INT if isinstance(value, int) else not math.isfinite(value):
            raise ValueError(f"{key} must be a finite number of at most 64 bits, found {shortened(value)}")
    elif value is not None:
        raise ValueError(f"{key} must be a plain value, found a {type(value).__name__}")


def _check_form(value: Any, option: Any, key: str) -> None:
    """Raise ValueError unless a plain value has the form of an option's value.

    Mappings have no keys that the option lacks, and what Hydra treats specially (``_target_`` and the like) is the
    same. An option's null, interpolation or empty container says nothing about the values there, in which nothing may
    be instantiated then.
    """
    if isinstance(option, str) and ("${" in option or option == "???"):
        option = None
    if value is None:
        return
    if isinstance(value, dict) and isinstance(option, dict | None):
        _check_keys(value, option or {}, key)
        for name, entry in value.items():
            _check_form(entry, (option or {}).get(name), f"{key}.{name}")
    elif isinstance(value, list) and isinstance(option, list | None):
        for number, entry in enumerate(value):
            _check_form(entry, _list_entry(option or [], number), f"{key}.{number}")
    elif option is not None and not _is_of_type(value, option):
        raise ValueError(f"{key}={shortened(value)} is not of the type of {shortened(option)} in the option")


def _check_keys(value: dict[str, Any], option: dict[str, Any], key: str) -> None:
    special, trusted = (
        {name: entry for name, entry in node.items() if name.startswith("_")} for node in (value, option)
    )
    for name in {**special, **trusted}:
        if name not in special or name not in trusted or special[name] != trusted[name]:
            raise ValueError(f"{key}.{name}={shortened(special.get(name))} is not that of the option of this class")
    if option and (unknown := sorted(value.keys() - option.keys())):
        raise ValueError(f"{key}.{unknown[0]:.100} is no setting of the option of this class")


def _list_entry(option: list[Any], number: int) -> Any:
    """The entry of an option's list that tells the type of a value: of values beyond it, its last scalar."""
    if number < len(option):
        return option[number]
    return option[-1] if option and not isinstance(option[-1], dict | list) else None


def _is_of_type(value: Any, option: Any) -> bool:
    if isinstance(value, bool) or isinstance(option, bool):
        return isinstance(value, bool) and isinstance(option, bool)
    return isinstance(value, int | float if isinstance(option, float) else type(option))
