"""Files that somebody else may have made: their kind and size are looked at before they are opened."""

from __future__ import annotations

import stat
from pathlib import Path

TEXT_BYTES = 1 << 24
"""The most bytes that a text may have: 16 MiB."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> int:
    """Raise ValueError for anything but a regular file: reading a pipe or a device may never end.

    Returns:
        Its size in bytes.

    Raises:
        FileNotFoundError: there is nothing at the path.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is {KINDS[stat.S_IFMT(status.st_mode)]}, and not a file")
    return status.st_size


def read_text(path: Path) -> str:
    """A text; ValueError, which names the file, where it is no regular file, too large, or not UTF-8.

    Raises:
        FileNotFoundError: there is nothing at the path.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(TEXT_BYTES + 1)
    if len(content) > TEXT_BYTES:
        raise ValueError(f"{path} has more than the {TEXT_BYTES:,} bytes that such a text may have")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start})") from error


def lines_of(text: str) -> list[str]:
    """The lines of a text in which positions count: only the newlines at its end go, and blanks around a line.

    ``str.splitlines`` would also split at form feeds and other marks within a line, and so shift what follows.
    """
    text = text.rstrip("\n")
    return [line.strip() for line in text.split("\n")] if text else []
