"""Validation of tensor archives before they are loaded, so that their size in memory is bounded by their file size.

An untrusted archive may unpack to any size (compressed members), reuse the same bytes many times (overlapping members),
list millions of members, or present different directories to different readers. Archives that torch and NumPy write do
none of this; all others are rejected.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tracer_lightning.storage.kinds import DOWNLOAD_AGAIN, FIRST_BYTES, TRUSTED, describe_archive, describe_file
from tracer_lightning.storage.reading import check_regular
from tracer_lightning.storage.scalars import encodes_numbers_only

MAGIC = b"PK\x03\x04"
"""Leading bytes by which torch distinguishes an archive from a bare pickle."""
COMPRESSED = "a compressed archive"
"""Description of an archive that may unpack to any size."""
MAX_MEMBERS = 1 << 14
"""Maximum number of tensors in a file: 16,384. A ViT-L with its teacher and AdamW's two moments has 3,000."""
DESCRIPTION_BYTES, MEMBER_BYTES = 1 << 20, 1 << 8
"""Maximum size of a description of tensors in bytes: 1 MiB, plus 256 bytes for each tensor."""
GLOBALS = re.compile(rb"c([\w.]+)\n([\w.]+)\n")
"""Pattern of a pickle's reference to a class or function."""
SAFE_GLOBALS = re.compile(
    rb"collections\.(OrderedDict|Counter)|(__builtin__|builtins)\.(set|complex)|torch\.(Size|device)"
    rb"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)|torch\.nn\.parameter\.Parameter"
    rb"|torch\._tensor\._rebuild_from_type_v2|torch\.(storage\.)?\w+Storage|torch\.(bool|b?float|complex|u?int)\w*"
    rb"|numpy\.dtype|numpy\._?core\.multiarray\.scalar|_codecs\.encode"
)
"""Callables allowed by torch's ``weights_only`` that allocate no more memory than their arguments take.

NumPy's names are replaced by stand-ins, and calls of ``_codecs.encode`` are checked separately.
"""
ENCODE = (b"_codecs", b"encode")
PICKLE = b"data.pkl"
"""End of the name of the member that describes an archive's tensors; torch ignores its case."""
TENSOR_ENDS = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]')
"""Pattern of the end offsets of tensors in the header of a safetensors file."""
END, END_64, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
MEMBER = struct.Struct("<4s6H3L5H2L")
LOCAL, NARROW = struct.Struct("<4s5H3L2H"), 0xFFFFFFFF
DIRECTORY_BYTES = DESCRIPTION_BYTES + MEMBER_BYTES * MAX_MEMBERS


class ArchiveMember(NamedTuple):
    """An entry of an archive's directory."""

    name: bytes
    method: int
    compressed: int
    size: int
    offset: int


def check_tensors(path: Path) -> Literal["torch", "safetensors"]:
    """Check that a file holds tensors, and that loading it takes time and memory proportional to its size.

    Args:
        path: a safetensors file, or one written by ``torch.save`` since torch 1.6; the format is recognised by content.

    Returns:
        The file's format.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the file has another format, or may take too much time or memory.
    """
    size = check_regular(path)
    with path.open("rb") as file:
        first = file.read(FIRST_BYTES)
        if first.startswith(MAGIC):
            _check_torch(file, size)
            return "torch"
        headed = first[4:9] == b"\0\0\0\0{"
        if not headed and (kind := describe_file(first)):
            raise ValueError(kind)
        if headed or path.suffix == ".safetensors":
            _check_safetensors(file, size)
            return "safetensors"
    raise ValueError("neither what torch.save writes since torch 1.6 nor safetensors")


def check_archive(path: Path) -> list[ArchiveMember]:
    """Check that a zip archive has the form that torch and NumPy write: uncompressed members that don't overlap.

    Returns:
        The members in the order of their offsets.

    Raises:
        FileNotFoundError: the path does not exist.
        ValueError: the archive has another form.
    """
    size = check_regular(path)
    with path.open("rb") as file:
        members = _list_members(file, size)
    _check_stored(members)
    return members


def _check_torch(file: IO[bytes], size: int) -> None:
    """Raise ValueError for an archive that holds anything but tensors."""
    members = _list_members(file, size)
    if kind := describe_archive([member.name for member in members]):
        raise ValueError(kind)
    _check_stored(members)
    for member in members:
        if member.name.lower().endswith(PICKLE):
            _check_pickle(file, member, len(members))


def _list_members(file: IO[bytes], size: int) -> list[ArchiveMember]:
    """Return the members of an archive in the order of their offsets; raise ValueError where they overlap."""
    start, directory, count = _read_directory(file, size)
    members = sorted(_parse_directory(directory, count), key=lambda member: member.offset)
    ends = [member.offset + LOCAL.size + len(member.name) + member.compressed for member in members]
    starts = [*(member.offset for member in members[1:]), start]
    if any(end > following for end, following in zip(ends, starts, strict=bool(members))):
        raise ValueError("an archive whose members overlap")
    return members


def _check_stored(members: list[ArchiveMember]) -> None:
    """Raise ValueError unless all members are stored without compression."""
    if any(member.method != 0 or member.compressed != member.size for member in members):
        raise ValueError(f"{COMPRESSED}, which may unpack to any size")


def _check_pickle(file: IO[bytes], member: ArchiveMember, members: int) -> None:
    """Raise ValueError for a pickle of anything but tensors, names and numbers, or one too long for its tensors."""
    if member.size > DESCRIPTION_BYTES + MEMBER_BYTES * members:
        raise ValueError(f"its {members:,} members are described in {member.size:,} bytes")
    *_, name_size, extra_size = _unpack(LOCAL, file, member.offset)
    file.seek(member.offset + LOCAL.size + name_size + extra_size)
    pickled = file.read(member.size)
    for module, name in GLOBALS.findall(pickled):
        safe = SAFE_GLOBALS.fullmatch(module + b"." + name)
        if not safe or ((module, name) == ENCODE and not encodes_numbers_only(pickled)):
            full_name = f"{module.decode()}.{name.decode()}"
            raise ValueError(f"a pickle of something else, {full_name}, which is not executed; {TRUSTED}")


def _read_directory(file: IO[bytes], size: int) -> tuple[int, bytes, int]:
    """Return the offset of an archive's directory, its bytes and its number of entries.

    The directory must end the file: where comments or other bytes follow, two readers may find two directories.
    """
    end = size - END.size
    signature, *_, count, length, start, comment = _unpack(END, file, end)
    if signature != b"PK\x05\x06" or comment != 0:
        raise ValueError(f"an archive without a directory at its end, perhaps truncated; {DOWNLOAD_AGAIN}")
    if end >= LOCATOR.size + END_64.size:
        locator, _, location, _ = _unpack(LOCATOR, file, end - LOCATOR.size)
        if locator == b"PK\x06\x07":
            end -= LOCATOR.size + END_64.size
            signature, *_, count, length, start = _unpack(END_64, file, end)
            if signature != b"PK\x06\x06" or location != end:
                raise ValueError("an archive whose directory is not where it says")
    if count > MAX_MEMBERS or length > DIRECTORY_BYTES:
        raise ValueError(
            f"an archive of {count:,} members, listed in {length:,} bytes; it may have {MAX_MEMBERS:,} members"
        )
    if start + length != end:
        raise ValueError("an archive whose directory is not where it says")
    file.seek(start)
    return start, file.read(length), count


def _unpack(layout: struct.Struct, file: IO[bytes], offset: int) -> tuple[Any, ...]:
    """Unpack the values at an offset of a file; bytes beyond its end count as zeros."""
    file.seek(max(offset, 0))
    return layout.unpack(file.read(layout.size).ljust(layout.size, b"\0"))


def _parse_directory(directory: bytes, count: int) -> Iterator[ArchiveMember]:
    position = 0
    for _ in range(count):
        if position + MEMBER.size > len(directory):
            raise ValueError("an archive whose directory is truncated")
        signature, *_, method, _, _, _, compressed, size, name, extra, comment, _, _, _, offset = MEMBER.unpack_from(
            directory, position
        )
        if signature != b"PK\x01\x02":
            raise ValueError("an archive whose directory is damaged")
        position += MEMBER.size
        wide = _zip64_values(directory[position + name : position + name + extra])
        values = [next(wide, NARROW) if value == NARROW else value for value in (size, compressed, offset)]
        yield ArchiveMember(directory[position : position + name], method, values[1], values[0], values[2])
        position += name + extra + comment
    if position != len(directory):
        raise ValueError("an archive whose directory holds more than its members")


def _zip64_values(extra: bytes) -> Iterator[int]:
    """Yield the 64-bit values in the extra field of a directory entry."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            yield from (value for (value,) in struct.iter_unpack("<Q", extra[4 : 4 + length - length % 8]))
            return
        extra = extra[4 + length :]


def _check_safetensors(file: IO[bytes], size: int) -> None:
    """Raise ValueError for a header that is too long, lists too many tensors, or more bytes than the file has."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, DIRECTORY_BYTES))
    count = header.count(b'"dtype"')
    if count > MAX_MEMBERS or length > DESCRIPTION_BYTES + MEMBER_BYTES * count:
        raise ValueError(f"its header has {length:,} bytes and lists {count:,} tensors, more than {MAX_MEMBERS:,}")
    needed = 8 + length + max((int(end) for end in TENSOR_ENDS.findall(header)), default=0)
    if needed > size:
        raise ValueError(
            f"truncated: a safetensors file of {needed:,} bytes, of which only {size:,} are there; {DOWNLOAD_AGAIN}"
        )
