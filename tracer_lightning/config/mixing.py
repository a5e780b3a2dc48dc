"""The setting ``data.mix``: auxiliary data modules, whose settings are those of ``data`` with some of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

from tracer_lightning.config.type_checks import TARGET, check_type_of

KEY = "mix"
"""Name of the setting in the group ``data``."""
AUXILIARY_SETS = f"data.{KEY}.sets"
"""Key of the settings of auxiliary sets, by name."""
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
"""Names of auxiliary sets, which are parts of keys."""
FIELDS: dict[str, Any] = {
    "ratio": float,
    "level": str | None,
    "sets": dict[str, dict[str, Any] | None],
    "weights": dict[str, float] | None,
}
"""Types of the entries of a mix."""
OF_BATCHES = ("batch_size", "eval_batch_size", "num_workers")
"""Settings of data modules that an auxiliary set shares with the main one, whose batches its samples are in."""
OF_MAIN_SET = ("shots",)
"""Settings that an auxiliary set does not take over from the main one."""


def without_mix(cfg: DictConfig, key: str = "data") -> DictConfig:
    """A copy of the configuration in which the data at a key are those of their main set alone."""
    new_cfg = deepcopy(cfg)
    with open_dict(new_cfg):
        OmegaConf.select(new_cfg, key).pop(KEY, None)
    return new_cfg


def read_mix(cfg: DictConfig) -> dict[str, Any] | None:
    """``data.mix`` as arguments of :meth:`tracer_lightning.data.DataModule.mix_in`, without sets that are null.

    Each set is a mapping of its own settings.

    Returns:
        None where there is no mix.

    Raises:
        ValueError: an entry is missing, unknown or of another type.
    """
    node = cfg.data.get(KEY)
    if node is None:
        return None
    key = f"data.{KEY}"
    check_type_of(node, dict[str, Any], key)
    for name in node:
        if name not in FIELDS:
            raise ValueError(f"{key}.{name} is not a setting of a mix, which has {', '.join(FIELDS)}")
    mix: dict[str, Any] = {"ratio": None, "sets": {}, **node}
    for name, value in mix.items():
        check_type_of(value, FIELDS[name], f"{key}.{name}")
    for name in mix["sets"]:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{AUXILIARY_SETS} has the name {name!r}; names consist of letters, digits, hyphens and underscores"
            )
    return {**mix, "sets": {name: settings for name, settings in mix["sets"].items() if settings is not None}}


def with_auxiliary_set(cfg: DictConfig, name: str) -> tuple[DictConfig, str]:
    """A copy of the configuration that has all settings of an auxiliary set, and the key of their node.

    Args:
        cfg: configuration with a mix.
        name: name of the set.

    Raises:
        ValueError: the set has a setting that ``data`` lacks or that it can't have, or it is the main set.
    """
    key = f"{AUXILIARY_SETS}.{name}"
    own = cfg.data.mix.sets[name]
    main = without_mix(cfg).data
    for path in _unknown_settings(own, main):
        raise ValueError(f"{key}.{path} is not a setting of data; see data for those of an auxiliary set")
    for setting in (TARGET, *OF_BATCHES):
        if setting in own:
            raise ValueError(f"{key}.{setting} is that of the main set; remove it, or change data.{setting}")
    OmegaConf.set_struct(main, False)
    settings: Any = OmegaConf.merge(main, own)
    if settings == main:
        raise ValueError(f"{key} is the main set; give it settings other than those of data")
    for setting in OF_MAIN_SET:
        if setting in main and setting not in own:
            settings[setting] = None
    new_cfg = deepcopy(cfg)
    with open_dict(new_cfg):
        new_cfg.data.mix.sets[name] = settings
    return new_cfg, key


def _unknown_settings(own: Mapping[str, Any], known: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted names of settings that are not known; an empty mapping may have any."""
    for name, value in own.items():
        if name not in known:
            yield f"{prefix}{name}"
        elif isinstance(value, Mapping) and isinstance(known[name], Mapping) and known[name] and TARGET not in value:
            yield from _unknown_settings(value, known[name], f"{prefix}{name}.")
