"""Turning a user's mistake into one line."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from omegaconf.errors import OmegaConfBaseException

from tracer_lightning.engine.memory import lacks_memory, memory_request, shortage
from tracer_lightning.reporting.escaping import printable

FULL_ERROR = "HYDRA_FULL_ERROR"
"""Environment variable that asks for tracebacks."""


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get(FULL_ERROR, "0") not in ("", "0")


def complain(error: BaseException) -> None:
    """Print the error on one line of stderr."""
    text = str(error).strip() or type(error).__name__
    if lacks_memory(error):
        text = shortage(error)
    elif "in DataLoader worker process" in text:  # the worker's traceback, whose last line is the message
        kind, _, words = text.splitlines()[-1].partition(": ")
        text = words or kind
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        text = named(error.full_key, _of_omegaconf(error))
    sys.stderr.write(f"error: {printable(' '.join(text.split()))}\n")


def _of_omegaconf(error: OmegaConfBaseException) -> str:
    """What is wrong, without the library's own terms."""
    message = (str(error.msg).strip() or type(error).__name__).splitlines()[0]
    if re.fullmatch(r"(Key|Missing key) '?[^']*'? ?(is not in struct)?", message):
        return "there is no such setting; it is needed, and was taken away or replaced"
    return message


def fail(error: BaseException) -> NoReturn:
    """Print the error on one line of stderr and exit with status 1."""
    complain(error)
    raise SystemExit(1) from None


@contextmanager
def setting(key: str) -> Iterator[None]:
    """Name the setting in every ValueError and TypeError raised within, and where memory is lacking."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(named(key, str(error))) from error
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise MemoryError(named(key, memory_request(error))) from error


def named(key: str, message: str) -> str:
    """The message with the setting before it, unless it begins with one."""
    begins = re.match(r"([\w-]+\.)+[\w-]+ |[\w.-]+(:|=)", message)
    return message if begins else f"{key}: {message}"


def naming(key: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` with the setting named in its errors."""

    @functools.wraps(function, updated=())
    def named(*args: Any, **kwargs: Any) -> Any:
        with setting(key):
            return function(*args, **kwargs)

    return named
