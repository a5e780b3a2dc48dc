"""The members of tar files, read from any stream, and which of them a shard may have.

Shards come from elsewhere. Nothing is ever unpacked to disk, and what no shard needs is refused by name: absolute and
parent paths, links, devices, compressed archives, and members larger than any image or text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, NamedTuple

from tracer_lightning.data.images.files import suffix_of

BLOCK = 512
CHUNK = 1 << 20
LFS_POINTER = b"version https://git-lfs"
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
"""How gzip, bzip2, xz and Zstandard begin."""
TEXTS = ("cls", "txt", "json")
TEXT_BYTES, MEMBER_BYTES, NAME_BYTES = 1 << 20, 1 << 28, 1 << 16
"""At most: of a text (1 MiB), of any other member (256 MiB), of a long name with its header (64 KiB)."""
SHARD_BYTES = 1 << 34
"""The most bytes of a tar file that are downloaded: 16 GiB."""
FILES, LONG_NAMES, PASSED_OVER = (b"0", b"\0"), (b"L", b"x"), (b"5", b"g", b"K")
"""Kinds of members: files; names of the next one; folders, and what belongs to all or to links."""
KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file"}


class Member(NamedTuple):
    """One file within a tar."""

    name: str
    offset: int
    """Of its first byte, within the tar."""
    size: int


class TarBytes:
    """A tar file's bytes, in order; ValueError where there are fewer than its headers say.

    Args:
        stream: from the beginning of the file; parts of it are passed over where it can seek, and read where not.
        name: for messages.
    """

    def __init__(self, stream: IO[bytes], name: object) -> None:
        self.stream, self.name, self.position = stream, name, 0
        self._size = stream.seek(0, 2) if stream.seekable() else None
        if self._size is not None:
            stream.seek(0)

    def header(self, ended: bool = False) -> bytes:
        """The next header; less than a block at the end of what is no tar file, or has ended before."""
        data = self.stream.read(BLOCK)
        if self.position > 0 and len(data) < BLOCK and not (ended and not any(data)):
            raise self._truncated(self.position + len(data))
        self.position += len(data)
        return data

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self.stream.read(size)
        self.position += len(data)
        if len(data) < size:
            raise self._truncated(self.position)
        return data

    def move_to(self, position: int) -> None:
        """Pass over what lies before the position."""
        if self._size is None:
            while self.position < position:
                self.read(min(CHUNK, position - self.position))
        elif position > self._size:
            raise self._truncated(self._size)
        else:
            self.stream.seek(position)
        self.position = position

    def _truncated(self, end: int) -> ValueError:
        return ValueError(
            f"{self.name} is truncated at byte {end}: it has no end-of-archive mark; delete it and fetch it again"
        )


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base 256, for sizes of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    if not re.fullmatch(rb"[0-7]*", digits):  # int() would take signs, too
        raise ValueError(f"{digits!r} is no octal number")
    return int(digits or b"0", 8)


def check_header(name: object, header: bytes, position: int) -> int:
    """The size of the member whose header this block of a tar is; ValueError says what it is instead."""
    if position == 0 and header.startswith(LFS_POINTER):
        raise ValueError(f"{name} is a Git LFS pointer, not a shard; fetch the data with git lfs pull")
    if position == 0 and header.startswith(COMPRESSED):
        raise ValueError(f"{name} is compressed, and a shard is a plain tar file; decompress it")
    try:
        valid = len(header) == BLOCK and sum(header[:148]) + sum(header[156:]) + 8 * ord(" ") == _number(
            header[148:156]
        )
        size = _number(header[124:136]) if valid else 0
    except ValueError:
        valid = False
    if not valid:
        what = "no tar file (an error page saved as one?)" if position == 0 else f"damaged at byte {position}"
        raise ValueError(f"{name} is {what}; delete it and fetch it again")
    return size


def _pax_path(content: bytes) -> str | None:
    """The ``path`` of a pax header, whose records are ``LENGTH KEY=VALUE``, each with a line end."""
    for record in content.split(b"\n"):
        _, _, entry = record.partition(b" ")
        if entry.startswith(b"path="):
            return entry[5:].decode(errors="replace")
    return None


def _short_name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0].decode(errors="replace")
    prefix = header[345:500].split(b"\0")[0].decode(errors="replace") if header[257:262] == b"ustar" else ""
    return f"{prefix}/{name}" if prefix else name


def check_member(tar: object, name: str, kind: bytes, size: int) -> None:
    """ValueError names the tar and the member that no shard may have."""
    most = TEXT_BYTES if suffix_of(name) in TEXTS else MEMBER_BYTES
    if kind in (*LONG_NAMES, *PASSED_OVER):
        most = NAME_BYTES
    if kind not in (*FILES, *LONG_NAMES, *PASSED_OVER):
        fault = f"is {KINDS.get(kind, 'of an unknown kind')}"
    elif name.startswith("/") or ".." in name.split("/"):
        fault = "has a path that leads out of the archive"
    elif size > most:
        fault = f"has {size:,} bytes, more than the {most:,} that it may have"
    else:
        return
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    raise ValueError(f"{tar}: member {shown!r} {fault}; it belongs in no shard, get this one from another source")


def walk(file: TarBytes) -> Iterator[Member]:
    """The regular files of a tar, in order, each of which may be read from ``file`` before the next is asked for.

    What stands behind the mark of its end is read on: tars that were joined by ``cat`` are one.

    Raises:
        ValueError: the tar is damaged or truncated, or has a member that no shard may have.
    """
    long_name, ended = None, False
    while len(header := file.header(ended)) == BLOCK or not ended:
        if len(header) == BLOCK and not any(header):
            ended = True
            continue
        ended = False
        size = check_header(file.name, header, file.position - len(header))
        offset, kind = file.position, header[156:157]
        name = long_name or _short_name(header)
        check_member(file.name, name, kind, size)
        if kind in LONG_NAMES:
            content = file.read(size)
            long_name = content.split(b"\0")[0].decode(errors="replace") if kind == b"L" else _pax_path(content)
        elif kind in FILES:
            long_name = None
            yield Member(name, offset, size)
        elif kind == b"5":
            long_name = None
        file.move_to(offset + -(-size // BLOCK) * BLOCK)
