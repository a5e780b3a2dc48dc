"""Reading of tar members from any stream, with checks for untrusted shards.

Members are never unpacked to disk. Anything that no shard needs raises an error: absolute and parent paths, links,
devices, compressed archives, and members larger than any image or text.
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
"""Leading bytes of gzip, bzip2, xz and Zstandard."""
TEXTS = ("cls", "txt", "json")
TEXT_BYTES, MEMBER_BYTES, NAME_BYTES = 1 << 20, 1 << 28, 1 << 16
"""Maximum sizes of a text (1 MiB), of any other member (256 MiB) and of a long name with its header (64 KiB)."""
SHARD_BYTES = 1 << 34
"""Maximum size of a downloaded tar file: 16 GiB."""
FILES, LONG_NAMES, SKIPPED = (b"0", b"\0"), (b"L", b"x"), (b"5", b"g", b"K")
"""Type flags of files, of long names of the next member, and of skipped members (folders and other headers)."""
KINDS = {b"1": "a link", b"2": "a link", b"3": "a device", b"4": "a device", b"6": "a pipe", b"S": "a sparse file"}


class TarMember(NamedTuple):
    """File in a tar."""

    name: str
    offset: int
    """Offset of the first byte in the tar."""
    size: int


class TarBytes:
    """Sequential reader of a tar file; raises ValueError where the file is shorter than its headers say.

    Args:
        stream: stream at the beginning of the file; skipped parts are read if it can't seek.
        name: name of the file, for messages.
    """

    def __init__(self, stream: IO[bytes], name: object) -> None:
        self.stream, self.name, self.position = stream, name, 0
        self._size = stream.seek(0, 2) if stream.seekable() else None
        if self._size is not None:
            stream.seek(0)

    def header(self, ended: bool = False) -> bytes:
        """Read the next header; shorter than a block at the end of the file.

        Args:
            ended: whether the end-of-archive mark has been read.
        """
        data = self.stream.read(BLOCK)
        if self.position > 0 and len(data) < BLOCK and not (ended and not any(data)):
            raise self._truncated(self.position + len(data))
        self.position += len(data)
        return data

    def read(self, size: int) -> bytes:
        """Read the next bytes."""
        data = self.stream.read(size)
        self.position += len(data)
        if len(data) < size:
            raise self._truncated(self.position)
        return data

    def move_to(self, position: int) -> None:
        """Skip to a position."""
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
            f"{self.name} is truncated at byte {end}, without an end-of-archive mark; delete it and fetch it again"
        )


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base 256, for sizes from 8 GiB
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    if not re.fullmatch(rb"[0-7]*", digits):  # int() would also accept signs
        raise ValueError(f"{digits!r} is not an octal number")
    return int(digits or b"0", 8)


def check_header(name: object, header: bytes, position: int) -> int:
    """Return the size of a member from its header; raise ValueError where the block is not a tar header."""
    if position == 0 and header.startswith(LFS_POINTER):
        raise ValueError(f"{name} is a Git LFS pointer, not a shard; fetch the data with git lfs pull")
    if position == 0 and header.startswith(COMPRESSED):
        raise ValueError(f"{name} is compressed, but a shard must be a plain tar file; decompress it")
    try:
        valid = len(header) == BLOCK and sum(header[:148]) + sum(header[156:]) + 8 * ord(" ") == _number(
            header[148:156]
        )
        size = _number(header[124:136]) if valid else 0
    except ValueError:
        valid = False
    if not valid:
        problem = "not a tar file (perhaps an error page)" if position == 0 else f"damaged at byte {position}"
        raise ValueError(f"{name} is {problem}; delete it and fetch it again")
    return size


def _pax_path(content: bytes) -> str | None:
    """Parse the ``path`` of a pax header, whose records are lines of ``LENGTH KEY=VALUE``."""
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
    """Raise ValueError for a member that a shard must not have."""
    max_size = TEXT_BYTES if suffix_of(name) in TEXTS else MEMBER_BYTES
    if kind in (*LONG_NAMES, *SKIPPED):
        max_size = NAME_BYTES
    if kind not in (*FILES, *LONG_NAMES, *SKIPPED):
        problem = f"is {KINDS.get(kind, 'of an unknown kind')}"
    elif name.startswith("/") or ".." in name.split("/"):
        problem = "has a path outside of the archive"
    elif size > max_size:
        problem = f"has {size:,} bytes, more than the {max_size:,} allowed"
    else:
        return
    short_name = name if len(name) <= 100 else f"{name[:100]}..."
    raise ValueError(f"{tar}: member {short_name!r} {problem}; get the shard from another source")


def walk(file: TarBytes) -> Iterator[TarMember]:
    """Yield the regular files of a tar in order; each may be read from ``file`` before the next one is requested.

    Reading continues after an end-of-archive mark, so that concatenated tar files are read as one.

    Raises:
        ValueError: the tar is damaged or truncated, or has a member that a shard must not have.
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
            yield TarMember(name, offset, size)
        elif kind == b"5":
            long_name = None
        file.move_to(offset + -(-size // BLOCK) * BLOCK)
