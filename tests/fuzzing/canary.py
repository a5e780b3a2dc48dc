"""Whether code touches a file, a socket or a process that it should not: seen by Python's audit events."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), (0,)),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink", "shutil.copyfile", "shutil.move"), (0, 1)),
    **dict.fromkeys(("shutil.rmtree", "shutil.unpack_archive"), (0,)),
}
"""Events that change files, and which of their arguments are paths."""
FORBIDDEN = (
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "ftplib.connect"),
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "os.startfile"),
    *("webbrowser.open", "smtplib.connect", "telnetlib.Telnet.open"),
)
"""Events that must not be."""
HARMLESS = ("/dev/null", "/dev/shm/", "/proc/")
"""Where writing leaves nothing behind."""
_folders: list[str] = []
_seen: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if not _folders:
        return
    if event in FORBIDDEN:
        _seen.append(f"{event} {arguments[:2]!r:.200}")
    elif event == "open":
        path, mode, flags = arguments
        if isinstance(path, str | bytes | os.PathLike) and (
            (isinstance(mode, str) and set(mode) & set("wax+")) or (mode is None and flags & WRITES)
        ):
            _note(event, path)
    elif event in CHANGES:
        for position in CHANGES[event]:
            _note(event, arguments[position])


def _note(event: str, path: Any) -> None:
    if isinstance(path, int):
        return
    resolved = os.path.realpath(os.fsdecode(path))
    if not resolved.startswith((*_folders, *HARMLESS)) and "__pycache__" not in resolved:
        _seen.append(f"{event} {resolved}")


sys.addaudithook(_watch)  # can't be taken away again, and does nothing outside of `watched`


@contextlib.contextmanager
def watched(*folders: Path) -> Iterator[list[str]]:
    """Collect what touches anything but these folders."""
    _seen.clear()
    _folders[:] = [os.path.realpath(folder) for folder in folders]
    try:
        yield _seen
    finally:
        _folders.clear()
