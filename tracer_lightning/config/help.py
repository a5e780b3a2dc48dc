"""A quick ``--help``, and its part that depends on the command: groups and top-level settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType

ENTRY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: +(?P<value>[^\s#{].*?))?(?: +# (?P<comment>.*))?")
"""A line of a command's YAML file that sets a value or begins a mapping."""
CONTINUATION = re.compile(r"\n +# ")
"""Beginning of a line that continues the comment of the line before."""
WIDTH = 28
"""Number of columns before the descriptions of settings."""
GROUP = re.compile(r" *- (?:optional )?(?P<group>\w+): .*? # (?P<comment>.*)")
"""A line of a defaults list that says what a group chooses."""
HELP = {"--help", "-h"}
"""Hydra's options for help."""
TRAINING = "train"
"""Command whose defaults list says what each group chooses; those of other commands do where they have more groups."""


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for ``--help``."""
    return bool(HELP & set(arguments))


def help_config(command: str, folder: Path) -> str:
    """The configuration to compose for ``--help`` in place of the command's, which has fifty files.

    Args:
        command: name of the command's YAML file.
        folder: folder of the configuration.

    Returns:
        Name of the file with the command's settings of Hydra, which the help's text is part of.
    """
    return f"hydra/{command if (folder / 'hydra' / f'{command}.yaml').is_file() else 'default'}"


def without_settings(arguments: Sequence[str]) -> list[str]:
    """The command line of ``--help`` without settings other than Hydra's, which do not change the text.

    Args:
        arguments: the program, and its command line in Hydra's grammar.
    """
    program, *rest = arguments
    return [
        program,
        *(
            argument
            for argument in rest
            if argument.startswith(("-", "hydra.")) or not ("=" in argument or argument.startswith("~"))
        ),
    ]


class _Deferred:
    """Text that is made only where a template contains it.

    Args:
        text: function that makes the text.
    """

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text()


@contextmanager
def quick_help(arguments: Sequence[str]) -> Iterator[None]:
    """Keep Hydra from listing all groups for ``--help``, which takes seconds, unless the template contains the lists.

    Args:
        arguments: the command line; without ``--help`` or ``-h`` in it, nothing changes.
    """
    if not asks_for_help(arguments):
        yield
        return
    list_groups: Any = Hydra.format_config_groups
    Hydra.format_config_groups = lambda *args, **options: _Deferred(  # type: ignore[assignment, method-assign]
        partial(list_groups, *args, **options)
    )
    try:
        yield
    finally:
        Hydra.format_config_groups = list_groups  # type: ignore[method-assign]


def command_options(command: str) -> str:
    """Groups of a command with their options, and its top-level settings with their comments.

    Hydra resolves this in the template of ``--help``, as ``${command_options:train}``.

    Args:
        command: name of the command's YAML file.
    """
    loader: Any = GlobalHydra.instance().config_loader()
    (folder,) = (source.path for source in loader.get_sources() if source.provider == "main")
    training, text = (Path(folder, f"{name}.yaml").read_text(encoding="utf-8") for name in (TRAINING, command))
    groups = _groups(text)
    phrases = {
        match["group"]: match["comment"] for match in map(GROUP.fullmatch, f"{training}{text}".splitlines()) if match
    }
    lines = ["Groups, from which group=option chooses (with the default in brackets):"]
    for group, default in groups.items():
        # the repository itself, because the loader copies it for each group
        options = loader.repository.get_group_options(group, ObjectType.CONFIG)
        if len(options) > 1 or not default:
            phrase = f" ({phrases[group]})" if group in phrases else ""
            lines.append(f"  {group}{phrase}: {', '.join(sorted(options))}{f' [{default}]' if default else ''}")
    lines += ["", "Settings, which key=value changes (--cfg job prints those of the groups, too):"]
    lines += [f"  {setting}" for setting in _settings(text, groups)]
    return "\n".join(lines).replace("$", "$$")  # Hydra substitutes $NAME in the result


def _groups(text: str) -> dict[str, str]:
    """Groups in a defaults list, to their default options; empty where there is no default."""
    groups = {}
    for entry in yaml.safe_load(text)["defaults"]:
        if isinstance(entry, dict):
            ((key, option),) = entry.items()
            options = option if isinstance(option, list) else [option] if option else []
            groups[key.removeprefix("optional ")] = ", ".join(options)
    groups.pop("hydra")
    return groups


def _settings(text: str, groups: dict[str, str]) -> Iterator[str]:
    """Values that a command's YAML file sets, with their comments, but for those that a group fills."""
    parent = ""
    for line in CONTINUATION.sub(" ", text).splitlines():
        match = ENTRY.fullmatch(line)
        if match is None or match["name"] == "defaults":
            continue
        name = f"{parent}.{match['name']}" if match["indent"] else match["name"]
        if not match["indent"]:
            parent = match["name"]
        if match["value"] and name not in groups:
            setting = f"{name}={match['value']}"
            yield f"{setting:{WIDTH}}  {match['comment']}" if match["comment"] else setting
