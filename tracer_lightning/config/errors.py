"""Messages of one line for users' mistakes; ``composition.py`` makes those of unknown settings and options."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from tracer_lightning.engine.memory import lacks_memory, memory_request, shortage
from tracer_lightning.reporting.escaping import printable

FULL_ERROR = "HYDRA_FULL_ERROR"
"""Environment variable that asks for tracebacks."""


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get(FULL_ERROR, "0") not in ("", "0")


def error_line(error: BaseException) -> str:
    """The error on one line, without control characters."""
    text = str(error).strip() or type(error).__name__
    if lacks_memory(error):
        text = shortage(error)
    elif "in DataLoader worker process" in text:  # the text is the worker's traceback, which ends with the message
        kind, _, words = text.splitlines()[-1].partition(": ")
        text = words or kind
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        text = f"{error.full_key}: {_omegaconf_message(error)}"
    return printable(" ".join(text.split()))


def print_error(error: BaseException) -> None:
    """Print the error on one line of stderr."""
    sys.stderr.write(f"error: {error_line(error)}\n")


def _omegaconf_message(error: OmegaConfBaseException) -> str:
    """The message of an error, without OmegaConf's own terms."""
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        return "it is required but missing; it was removed or replaced"
    return (str(error.msg).strip() or type(error).__name__).splitlines()[0]


def fail(error: BaseException) -> NoReturn:
    """Print the error on one line of stderr and exit with status 1."""
    print_error(error)
    raise SystemExit(1) from None


class SettingError(ValueError):
    """An error whose message begins with the setting that caused it."""


class SettingMemoryError(MemoryError):
    """A lack of memory whose message begins with the setting that caused it."""


@contextmanager
def setting(key: str) -> Iterator[None]:
    """Name the setting in every ValueError, TypeError and lack of memory raised within; an inner setting is kept."""
    try:
        yield
    except (SettingError, SettingMemoryError):
        raise
    except Exception as error:
        if not isinstance(error, ValueError | TypeError) and not lacks_memory(error):
            raise
        raise setting_error(key, error) from error


def setting_error(key: str, error: BaseException) -> SettingError | SettingMemoryError:
    """The error with the setting in front of its message."""
    if lacks_memory(error):
        return SettingMemoryError(f"{key}: {memory_request(error)}")
    unknown = re.search(r"got an unexpected keyword argument '(\w+)'", str(error))
    if isinstance(error, TypeError) and unknown:
        return SettingError(f"{key}.{unknown[1]} is not an argument of {key}._target_; remove it, or choose another")
    return SettingError(f"{key}: {error}")


def naming(key: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` so that its errors name the setting."""

    @functools.wraps(function, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with setting(key):
            return function(*args, **kwargs)

    return wrapper
