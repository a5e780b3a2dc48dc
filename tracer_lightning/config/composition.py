"""Composition errors of Hydra and OmegaConf as one line that names the setting."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from types import FrameType
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
)

COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException)
SIMILARITY = 0.75
"""Least similarity, as difflib measures it, of a name that is suggested for a misspelt one."""
KEY = re.compile(r"[{,]([^{}\[\],:]*):")
"""Pattern of the keys of mappings in a value."""
QUOTE = re.compile(r"[\"']")


def frames(error: BaseException) -> list[FrameType]:
    """Frames that the error passed through, from the outermost call on."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)]


def is_submission_error(error: BaseException) -> bool:
    """Whether submitit could not submit a job or lost it; an error within a job comes with the job's trace."""
    modules = [frame.f_globals.get("__name__", "") for frame in frames(error)]
    return any(name.startswith("submitit.") for name in modules) and "with trace" not in str(error)


def one_line(error: BaseException) -> ValueError:
    """An error of composition, or of one of Hydra's launchers, as a ValueError of one line that names the setting."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
    missing = next((e for e in (error, cause) if isinstance(e, InterpolationToMissingValueError)), None)
    if is_submission_error(error):
        message = f"hydra/launcher: {error}"
    elif isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        message = _missing_option(error.missing_cfg_file, error.options)
    elif isinstance(error, ConfigCompositionException) and (
        match := re.search(r"Could not override '([^']+)'", f"{error}")
    ):
        message = _unknown_setting(match[1], error)  # Hydra keeps the key nowhere else
    elif missing is not None and (match := re.search(r"Missing mandatory value: (\w+)", str(missing))):
        message = f"{match[1]} is not set; choose an experiment=, or give {match[1]}="
    elif (reason := _resolver_error(error)) is not None:
        message = str(reason)
    elif isinstance(error, OverrideParseException):
        message = f"{error.override}: not of the form key=value; {_syntax_remedy(error.override)}"
    elif isinstance(error, OSError):
        message = f"the run's folder can't be made: {error}; choose another place with paths.outputs="
    else:
        message = _with_override(error, cause)
    return ValueError(message)


def _syntax_remedy(override: str) -> str:
    """What to do about a setting that Hydra can't parse."""
    if "\n" in override:
        return "write it on one line"
    key, _, value = override.partition("=")
    if any(not name.isascii() or QUOTE.search(name) for name in (key, *KEY.findall(value))):
        return "write names before = and : in ASCII and without quotes; other names need a YAML file"
    return "put quotes around brackets and commas"


def _missing_option(file: str, options: Any) -> str:
    """The message for an option that a group does not have."""
    group, _, option = file.rpartition("/")
    longer = [name for name in options or () if name.startswith(f"{option}_")]
    choice = f"choose one of {', '.join(longer or options)}" if options else "see --help"
    if group.startswith("hydra/"):
        choice += "; joblib, submitit and optuna come with pip install -e '.[sweep]'"
    return f"{group}={option}: there is no such {group or 'configuration'}; {choice}"


def _unknown_setting(key: str, error: BaseException) -> str:
    """The message for a setting or group that does not exist, with a similar name if there is one."""
    cause = error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and str(cause.full_key).startswith(f"{key}."):
        key = str(cause.full_key)  # the key of a new entry, where a mapping was given
    similar = get_close_matches(key, _known_names(error), 1, SIMILARITY)
    question = f"did you mean {similar[0]}? " if similar else ""
    return f"{key}: there is no such setting; {question}see --cfg job (to add one: +{key}=)"


def _known_names(error: BaseException) -> list[str]:
    """Names of settings and groups, from the frames in which Hydra raised the error: its errors do not hold them."""
    variables = {name: value for frame in frames(error) for name, value in frame.f_locals.items()}
    cfg = variables.get("cfg")
    names = [*_dotted_names(OmegaConf.to_container(cfg))] if isinstance(cfg, DictConfig) else []
    if repository := getattr(variables.get("self"), "repository", None) or variables.get("repo"):
        names += repository.get_group_options("", ObjectType.GROUP)
    return names


def _dotted_names(settings: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings and groups."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        yield f"{prefix}{name}"
        yield from _dotted_names(value, f"{prefix}{name}.")


def _resolver_error(error: BaseException) -> BaseException | None:
    """The ValueError that one of this project's resolvers raised, if that is what the error comes from."""
    if not isinstance(error, InterpolationResolutionError):
        return None
    inner: BaseException | None = error
    while isinstance(inner, OmegaConfBaseException):
        inner = inner.__cause__ or inner.__context__
    return inner if isinstance(inner, ValueError) else None


def _with_override(error: BaseException, cause: OmegaConfBaseException | None) -> str:
    """The libraries' own message, without its appended context, and with the override that it is about."""
    texts = [str(part).partition("full_key:")[0].strip(" .\n") for part in (error, cause) if part is not None]
    message = " ".join(texts).strip()
    override = _failed_override(error)
    return f"{message if not override or override in message else f'{override}: {message}'}; see --help"


def _failed_override(error: BaseException) -> str | None:
    """The override that Hydra was applying when it failed, which its errors do not always name."""
    lines = [getattr(frame.f_locals.get("override"), "input_line", None) for frame in reversed(frames(error))]
    mark = "${" if "${" in f"{error} {error.__cause__}" else "\n"
    suspects = [argument for argument in sys.argv[1:] if mark in argument or _lists_invalid_options(argument)]
    return next((line for line in [*lines, *suspects] if line), None)


def _lists_invalid_options(argument: str) -> bool:
    """Whether the argument gives a group a list with an item that is not the name of an option."""
    match = re.fullmatch(r"[\w/@]+=\[(.+)\]", argument)
    items = [item.strip() for item in match[1].split(",")] if match else []
    return any(item == "null" or not re.fullmatch(r"[A-Za-z][\w/-]*", item) for item in items)
