"""Errors which mean that there is not enough memory; libraries say it in many ways."""

from __future__ import annotations

import errno
import re
import resource
import traceback

NO_THREAD = "can't start new thread"
SIGNS = (
    *("can't allocate memory", "Cannot allocate memory", "bad_alloc", "failed to map segment", "out of memory"),
    NO_THREAD,
)
"""Parts of such messages of RuntimeError (torch's, for CPU and GPU), ImportError, and a loading process's OSError."""
UNSAID = "error return without exception set"
"""What Python says of a library whose allocation failed and which did not tell."""
SILENT = ("", "std::bad_alloc", UNSAID)
"""Messages that do not tell what was asked for."""


class OutOfMemory(SystemExit):
    """The end of a process that lacks memory, with status 1; what it lacked has been printed."""

    def __init__(self) -> None:
        super().__init__(1)


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, means that there is not enough memory."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    told = isinstance(error, RuntimeError | ImportError | OSError) and any(sign in str(error) for sign in SIGNS)
    told = told or (isinstance(error, SystemError) and UNSAID in str(error))
    return told or lacks_memory(error.__cause__ or error.__context__)


def memory_request(error: BaseException) -> str:
    """What asked for how much, as far as the error tells."""
    text = str(error).strip()
    if "in DataLoader worker process" in text:
        text = f"a worker: {text.splitlines()[-1].removeprefix('MemoryError').removeprefix(': ')}".removesuffix(": ")
    text = re.sub(r"\[enforce fail .*?(tried to allocate \d+ bytes).*", r"\1", text, flags=re.DOTALL)
    if text not in SILENT:
        return text
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name for name in names if name.startswith("tracer_lightning.")]
    return f"asked for by {ours[-1]}" if ours else "it is not known what asked for it"


def shortage(error: BaseException) -> str:
    """What there is to say about an error that :func:`lacks_memory`."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    known = "" if limit == resource.RLIM_INFINITY else f" (ulimit -v allows {limit >> 20} MiB)"
    request = memory_request(error)
    return f"out of memory{' or threads' if NO_THREAD in request else ''}{known}: {request}"
