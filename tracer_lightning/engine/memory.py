"""Recognition of errors that mean a lack of memory, which libraries report in many ways."""

from __future__ import annotations

import errno
import re
import resource
import traceback

NO_THREAD = "can't start new thread"
MESSAGES = (
    *("can't allocate memory", "Cannot allocate memory", "bad_alloc", "failed to map segment", "out of memory"),
    NO_THREAD,
)
"""Parts of messages of RuntimeError (of torch, for CPU and GPU), ImportError, and OSError of a data worker."""
NO_EXCEPTION = "error return without exception set"
"""Message of Python about an extension whose allocation failed, and which set no exception."""
WITHOUT_REQUEST = ("", "std::bad_alloc", NO_EXCEPTION)
"""Messages that do not state the requested size."""


class OutOfMemory(SystemExit):
    """Exit of a process that lacks memory, with status 1, after the message was printed."""

    def __init__(self) -> None:
        super().__init__(1)


def lacks_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, means a lack of memory."""
    if error is None:
        return False
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    is_shortage = isinstance(error, RuntimeError | ImportError | OSError) and any(
        message in str(error) for message in MESSAGES
    )
    is_shortage = is_shortage or (isinstance(error, SystemError) and NO_EXCEPTION in str(error))
    return is_shortage or lacks_memory(error.__cause__ or error.__context__)


def memory_request(error: BaseException) -> str:
    """The failed request and its origin, as far as the error states them."""
    text = str(error).strip()
    if "in DataLoader worker process" in text:
        text = f"a worker: {text.splitlines()[-1].removeprefix('MemoryError').removeprefix(': ')}".removesuffix(": ")
    text = re.sub(r"\[enforce fail .*?(tried to allocate \d+ bytes).*", r"\1", text, flags=re.DOTALL)
    if text not in WITHOUT_REQUEST:
        return text
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [name for name in names if name.startswith("tracer_lightning.")]
    return f"requested by {modules[-1]}" if modules else "the origin of the request is not known"


def shortage(error: BaseException) -> str:
    """Message for an error that means a lack of memory."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    ulimit = "" if limit == resource.RLIM_INFINITY else f" (ulimit -v allows {limit >> 20} MiB)"
    request = memory_request(error)
    return f"out of memory{' or threads' if NO_THREAD in request else ''}{ulimit}: {request}"
