"""Reading text files from untrusted sources, whose type and size are checked first."""

from __future__ import annotations

import stat
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

TEXT_BYTES = 1 << 24
"""Maximum size of a text file in bytes: 16 MiB."""
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Descriptions of the file types that are not regular files."""


def check_regular(path: Path) -> int:
    """Raise ValueError for anything but a regular file: reading a pipe or a device may never end.

    Returns:
        The file's size in bytes.

    Raises:
        FileNotFoundError: the path does not exist.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is {KINDS[stat.S_IFMT(status.st_mode)]}, not a regular file")
    return status.st_size


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the path is not a regular file, is too large, or is not UTF-8.
    """
    check_regular(path)
    with path.open("rb") as file:
        content = file.read(TEXT_BYTES + 1)
    if len(content) > TEXT_BYTES:
        raise ValueError(f"{path} has more than the {TEXT_BYTES:,} bytes allowed for a text file")
    return decode_text(content, path).replace("\r\n", "\n").replace("\r", "\n")


def decode_text(content: bytes, where: object, first_line: int = 1) -> str:
    """Decode UTF-8 and drop a byte order mark.

    Args:
        content: bytes of a file, or of some of its lines.
        where: name of the file, for error messages.
        first_line: number of the first line of ``content``.

    Raises:
        ValueError: the bytes are in another encoding or not text; the message names the line and how to convert the
            file.
    """
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise ValueError(f"{where} is not UTF-8 text, but UTF-16; convert it with iconv -f UTF-16 -t UTF-8")
    try:
        text, invalid = content.decode("utf-8-sig"), content.find(b"\0")
    except UnicodeDecodeError as error:
        text, invalid = "", error.start
    if invalid < 0:
        return text
    line = first_line + content.count(b"\n", 0, invalid)
    raise ValueError(
        f"{where} is not UTF-8 text: line {line} has the byte 0x{content[invalid]:02x}; if the file comes from "
        "Windows, convert it with iconv -f CP1252 -t UTF-8"
    )


def check_utf8(path: Path) -> None:
    """Raise ValueError for a file that is not UTF-8; the file is read line by line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            decode_text(line, path, number)


def split_lines(text: str) -> list[str]:
    """Split a text, in which line numbers matter, at newlines; strip each line, and drop newlines at the end.

    Unlike ``str.splitlines``, this does not split at form feeds and other separators within a line.
    """
    text = text.rstrip("\n")
    return [line.strip() for line in text.split("\n")] if text else []
