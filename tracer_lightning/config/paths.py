"""Paths on the command line and in settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

PATH = re.compile(r"([+~]*(?!-)[\w./@-]+)=([^\s'\"\[{(].*)", flags=re.DOTALL)
"""Key, which is no option of Hydra's, and value, which does not begin as a string in quotes, a list, a mapping or an
expression does."""


def quoted(text: str) -> str:
    """A string in Hydra's grammar, whatever characters a path has."""
    escaped = re.sub(r"(\\*)(?:'|$)", lambda found: 2 * found[1] + ("\\'" if found[0].endswith("'") else ""), text)
    return f"'{escaped}'"


def with_quoted_paths(arguments: Sequence[str]) -> list[str]:
    """A command line in which paths that Hydra's grammar has no room for (``'=#~[]()``, accents) are quoted."""
    parser = OverridesParser.create()
    return [_quoted_path(argument, parser) for argument in arguments]


def _quoted_path(argument: str, parser: OverridesParser) -> str:
    found = PATH.fullmatch(argument)
    if found is None or not ("/" in found[2] or found[2].startswith("~") or _is_there(found[2])):
        return argument
    try:
        parser.parse_override(argument)
    except HydraException:
        return f"{found[1]}={quoted(found[2])}"
    return argument


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # longer than a name may be
        return False


def with_home(arguments: Sequence[str]) -> list[str]:
    """A command line with the user's home in place of ``~``, which shells leave behind ``=`` as it is."""
    return [re.sub(r"(?<=[=,\[])~(?=/|$)", lambda _: str(Path.home()), argument) for argument in arguments]


def with_absolute_root(cfg: DictConfig) -> DictConfig:
    """Let ``data.root``, where it is a folder, name it from anywhere: checkpoints say it; changed in place."""
    data: Any = cfg.get("data")
    if isinstance(data, DictConfig) and not OmegaConf.is_missing(data, "root"):
        root = data.get("root")
        if isinstance(root, str) and "://" not in root:
            data.root = str(Path(root).expanduser().absolute())
    return cfg
