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
"""An override whose value is not quoted, a list, a mapping or an expression, and that is no option of Hydra."""


def quoted(text: str) -> str:
    """The text as a quoted string of Hydra's grammar."""
    escaped = re.sub(r"(\\*)(?:'|$)", lambda match: 2 * match[1] + ("\\'" if match[0].endswith("'") else ""), text)
    return f"'{escaped}'"


def with_quoted_paths(arguments: Sequence[str]) -> list[str]:
    """The command line with quotes around paths that Hydra's grammar can't parse (``'=#~[]()``, accents)."""
    parser = OverridesParser.create()
    return [_quoted_path(argument, parser) for argument in arguments]


def _quoted_path(argument: str, parser: OverridesParser) -> str:
    match = PATH.fullmatch(argument)
    if match is None or not ("/" in match[2] or match[2].startswith("~") or _exists(match[2])):
        return argument
    try:
        parser.parse_override(argument)
    except HydraException:
        return f"{match[1]}={quoted(match[2])}"
    return argument


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # the name is too long
        return False


def with_home(arguments: Sequence[str]) -> list[str]:
    """The command line with ``~`` expanded after ``=``, where shells leave it."""
    return [re.sub(r"(?<=[=,\[])~(?=/|$)", lambda _: str(Path.home()), argument) for argument in arguments]


def with_absolute_root(cfg: DictConfig, key: str = "data") -> DictConfig:
    """Make the ``root`` of a node absolute where it is a folder, since checkpoints include it; changes ``cfg``."""
    data: Any = OmegaConf.select(cfg, key)
    if isinstance(data, DictConfig) and not OmegaConf.is_missing(data, "root"):
        root = data.get("root")
        if isinstance(root, str) and "://" not in root:
            data.root = str(Path(root).expanduser().absolute())
    return cfg
