"""Errors of Hydra's, said in one line that names the setting."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from types import FrameType
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)


def frames(error: BaseException) -> list[FrameType]:
    """Where the error passed through, from the outermost call on."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def of_submission(error: BaseException) -> bool:
    """Whether submitit could not hand in a job, or lost it; what a job raised comes with its trace."""
    modules = [frame.f_globals.get("__name__", "") for frame in frames(error)]
    return any(name.startswith("submitit.") for name in modules) and "with trace" not in str(error)


def one_line(error: BaseException) -> ValueError:
    """Hydra's composition errors, and those of its launchers, said in our form."""
    text = str(error)
    if of_submission(error):
        return ValueError(f"hydra/launcher: {text}")
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '([^']+)'", text)):
        group, _, option = found[1].rpartition("/")
        options = re.findall(r"^\t(.+)$", text.partition("Config search path")[0], re.MULTILINE)
        choice = f"choose one of {', '.join(options)}" if options else "see --help"
        if group.startswith("hydra/"):
            choice += "; joblib, submitit and optuna come with pip install -e '.[sweep]'"
        return ValueError(f"{group}={option}: there is no such {group or 'configuration'}; {choice}")
    if found := re.search(r"Could not load '([^']+)/([^'/]+)'", text):
        return ValueError(f"{found[1]}={found[2]}: there is no such {found[1]}; see --help")
    if found := re.search(r"Could not override '([^']+)'", text):
        key, inner = found[1], re.search(r"Key '([^']+)' is not in struct", f"{text} {error.__cause__}")
        if inner and inner[1] not in key.split("."):  # a mapping was given, with a new entry
            key = f"{key}.{inner[1]}"
        return ValueError(f"{key}: there is no such setting; {_meant(key, error)}see --cfg job (to add one: +{key}=)")
    if found := re.search(r"while resolving interpolation: Missing mandatory value: (\w+)", text):
        return ValueError(f"{found[1]} is not set; choose an experiment=, or give {found[1]}=")
    if found := re.search(r"^ValueError raised while resolving interpolation: (.+)", text):
        return ValueError(found[1])
    if isinstance(error, OverrideParseException):
        return ValueError(f"{error.override}: not of the form key=value; put quotes around brackets and commas")
    if isinstance(error, OSError):
        return ValueError(f"the run's folder can't be made: {text}; choose another place with paths.outputs=")
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    message = re.sub(r"\s+full_key: .*|\s+object_type=\S*", "", f"{text.rstrip(' .')} {cause or ''}".strip())
    given = _guilty(error)
    return ValueError(f"{message if not given or given in message else f'{given}: {message}'}; see --help")


def _meant(key: str, error: BaseException) -> str:
    """A question whether a setting or group of a similar name was meant, if there is one."""
    known = {name: value for frame in frames(error) for name, value in frame.f_locals.items()}
    names = [*_names(OmegaConf.to_container(known["cfg"]))] if isinstance(known.get("cfg"), DictConfig) else []
    if repository := getattr(known.get("self"), "repository", None) or known.get("repo"):
        names += repository.get_group_options("", ObjectType.GROUP)
    similar = get_close_matches(key, names, 1, 0.75)
    return f"did you mean {similar[0]}? " if similar else ""


def _names(settings: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings and groups."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        yield f"{prefix}{name}"
        yield from _names(value, f"{prefix}{name}.")


def _guilty(error: BaseException) -> str | None:
    """The override that Hydra was at when it failed, which its errors do not always name."""
    lines = [getattr(frame.f_locals.get("override"), "input_line", None) for frame in reversed(frames(error))]
    mark = "${" if "${" in f"{error} {error.__cause__}" else "\n"
    odd = [argument for argument in sys.argv[1:] if mark in argument or _names_no_options(argument)]
    return next((line for line in [*lines, *odd] if line), None)


def _names_no_options(argument: str) -> bool:
    """Whether it gives a group a list in which something is no name."""
    given = re.fullmatch(r"[\w/@]+=\[(.+)\]", argument)
    items = [item.strip() for item in given[1].split(",")] if given else []
    return any(item == "null" or not re.fullmatch(r"[A-Za-z][\w/-]*", item) for item in items)
