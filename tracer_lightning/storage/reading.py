"""Files that somebody else may have made: their kind and size are looked at before they are opened."""

from __future__ import annotations

import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
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
    return decoded(content, path).replace("\r\n", "\n").replace("\r", "\n")


def decoded(content: bytes, where: object, first_line: int = 1) -> str:
    """The text that bytes in UTF-8 stand for, without a byte order mark.

    Args:
        content: of a file, or some lines of it.
        where: the file, for messages.
        first_line: number of the first of the lines.

    Raises:
        ValueError: they are in another encoding, or no text; names the line, and how to convert the file.
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ValueError(f"{where} is no text in UTF-8, but in UTF-16; convert it with iconv -f UTF-16 -t UTF-8")
    try:
        text, place = content.decode("utf-8-sig"), content.find(b"\0")
    except UnicodeDecodeError as error:
        text, place = "", error.start
    if place < 0:
        return text
    line = first_line + content.count(b"\n", 0, place)
    raise ValueError(
        f"{where} is no text in UTF-8: line {line} has the byte 0x{content[place]:02x}; if it is a text of Windows, "
        "convert it with iconv -f CP1252 -t UTF-8"
    )


def check_utf8(path: Path) -> None:
    """Raise ValueError for a file that is not UTF-8; of large ones, a line at a time is looked at."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            decoded(line, path, number)


def lines_of(text: str) -> list[str]:
    """The lines of a text in which positions count: only the newlines at its end go, and blanks around a line.

    ``str.splitlines`` would also split at form feeds and other marks within a line, and so shift what follows.
    """
    text = text.rstrip("\n")
    return [line.strip() for line in text.split("\n")] if text else []
