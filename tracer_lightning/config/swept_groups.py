"""Settings of options that a sweep chooses among, such as ``experiment=a,b data.root=/images``.

Hydra first composes a configuration without what is swept, in which such settings do not exist, and refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

CONFIG_DIR = ("-cd", "--config-dir")


def allow_settings_of_swept_groups(arguments: Sequence[str], folder: Path, command: str) -> list[str]:
    """Mark the settings that only options of a swept group have, so that Hydra takes them (``++key=value``).

    They must exist with every choice of the swept groups, as the composition of each shows.

    Args:
        arguments: the command line of a sweep, without the program.
        folder: folder of the configuration.
        command: name of the command's YAML file.

    Returns:
        The command line; unchanged unless the sweep is over groups.

    Raises:
        HydraException: a composition has failed.
    """
    overrides = {argument: _parse(argument) for argument in arguments if "=" in argument and argument[0] != "-"}
    fixed = [argument for argument, override in overrides.items() if not override.is_sweep_override()]
    searched = [folder, *_further_folders(arguments)]
    groups = [
        override
        for override in overrides.values()
        if override.is_sweep_override() and any((path / override.key_or_group).is_dir() for path in searched)
    ]
    if not groups:
        return list(arguments)
    settings = [argument for argument in fixed if _is_setting(overrides[argument], searched)]
    with initialize_config_dir(str(folder.absolute()), version_base="1.3"):
        paths = [f"hydra.searchpath=[{','.join(f'file://{path.absolute()}' for path in searched[1:])}]"]
        options = [*([argument for argument in fixed if argument not in settings]), *(paths if searched[1:] else ())]
        unknown = [argument for argument in settings if not _has(compose(command, options), overrides[argument])]
        if unknown:
            for choices in product(*([*group.sweep_string_iterator()] for group in groups)):
                chosen = [f"{group.key_or_group}={choice}" for group, choice in zip(groups, choices, strict=True)]
                compose(command, [*options, *chosen, *settings])
    return [f"++{argument}" if argument in unknown else argument for argument in arguments]


def _parse(argument: str) -> Override:
    return OverridesParser.create().parse_override(argument)


def _is_setting(override: Override, folders: Sequence[Path]) -> bool:
    """Whether it changes a value, rather than choosing an option of a group, adding or removing something."""
    is_group = any((folder / override.key_or_group).is_dir() for folder in folders)
    return not (is_group or override.is_add() or override.is_force_add() or override.is_delete())


def _has(cfg: DictConfig, override: Override) -> bool:
    """Whether a configuration has what an override changes."""
    absent = object()
    return OmegaConf.select(cfg, override.key_or_group, default=absent) is not absent


def _further_folders(arguments: Sequence[str]) -> Iterator[Path]:
    """Folders given as ``--config-dir``."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, separator, value = argument.partition("=")
        if name in CONFIG_DIR:
            yield Path(value if separator else following)
