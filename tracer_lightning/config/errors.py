"""Messages of one line for users' mistakes."""

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


def print_error(error: BaseException) -> None:
    """Print the error on one line of stderr."""
    text = str(error).strip() or type(error).__name__
    if lacks_memory(error):
        text = shortage(error)
    elif "in DataLoader worker process" in text:  # the text is the worker's traceback, which ends with the message
        kind, _, words = text.splitlines()[-1].partition(": ")
        text = words or kind
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        text = with_setting(error.full_key, _omegaconf_message(error))
    sys.stderr.write(f"error: {printable(' '.join(text.split()))}\n")


def _omegaconf_message(error: OmegaConfBaseException) -> str:
    """The message of an error, without OmegaConf's own terms."""
    if isinstance(error, ConfigAttributeError | ConfigKeyError):
        return "there is no such setting; it is needed, and was taken away or replaced"
    return (str(error.msg).strip() or type(error).__name__).splitlines()[0]


def fail(error: BaseException) -> NoReturn:
    """Print the error on one line of stderr and exit with status 1."""
    print_error(error)
    raise SystemExit(1) from None


@contextmanager
def setting(key: str) -> Iterator[None]:
    """Name the setting in every ValueError, TypeError and lack of memory that is raised within."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(with_setting(key, str(error))) from error
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise MemoryError(with_setting(key, memory_request(error))) from error


def with_setting(key: str, message: str) -> str:
    """The message with the setting in front, unless it begins with a setting already."""
    has_setting = re.match(r"([\w-]+\.)+[\w-]+ |[\w.-]+(:|=)", message)
    return message if has_setting else f"{key}: {message}"


def naming(key: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``function`` so that its errors name the setting."""

    @functools.wraps(function, updated=())
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with setting(key):
            return function(*args, **kwargs)

    return wrapper
