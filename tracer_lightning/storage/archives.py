"""Archives of tensors, whose size in memory is known before they are read.

An archive from elsewhere may unpack to any size (compressed members), hold the same bytes any number of times
(overlapping members), list millions of members, or show different directories to different readers. What torch and
NumPy write is none of these, and nothing else is handed to them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tracer_lightning.storage.kinds import AGAIN, FIRST_BYTES, TRUSTED, archive_kind, kind_of
from tracer_lightning.storage.reading import check_regular
from tracer_lightning.storage.scalars import encodes_numbers_only

MAGIC = b"PK\x03\x04"
"""The first bytes by which torch tells an archive from a bare pickle."""
COMPRESSED = "a compressed archive"
"""The beginning of what is said of an archive that may unpack to any size."""
MOST_MEMBERS = 1 << 14
"""The most tensors that a file may have: 16,384. A ViT-L with its teacher and both moments of AdamW has 3,000."""
DESCRIPTION_BYTES, MEMBER_BYTES = 1 << 20, 1 << 8
"""The most bytes that may describe the tensors of a file: 1 MiB, and 256 bytes for each tensor."""
NAMED = re.compile(rb"c([\w.]+)\n([\w.]+)\n")
"""What a pickle looks like where it names a class or function."""
PLAIN = re.compile(
    rb"collections\.(OrderedDict|Counter)|(__builtin__|builtins)\.(set|complex)|torch\.(Size|device)"
    rb"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)|torch\.nn\.parameter\.Parameter"
    rb"|torch\._tensor\._rebuild_from_type_v2|torch\.(storage\.)?\w+Storage|torch\.(bool|b?float|complex|u?int)\w*"
    rb"|numpy\.dtype|numpy\._?core\.multiarray\.scalar|_codecs\.encode"
)
"""Of what torch may call with ``weights_only``, that of which a call makes no more than it is given.

For NumPy's names there are stand-ins, and ``_codecs.encode`` is looked at more closely.
"""
ENCODE = (b"_codecs", b"encode")
PICKLE = b"data.pkl"
"""The end of the name, for which torch passes over case, of the member that describes an archive's tensors."""
ENDS = re.compile(rb'"data_offsets"\s*:\s*\[\s*\d+\s*,\s*(\d{1,18})\s*\]')
"""Where the tensors of safetensors end, after their header."""
END, END_64, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
MEMBER = struct.Struct("<4s6H3L5H2L")
LOCAL, NARROW = struct.Struct("<4s5H3L2H"), 0xFFFFFFFF
DIRECTORY_BYTES = DESCRIPTION_BYTES + MEMBER_BYTES * MOST_MEMBERS


class Member(NamedTuple):
    """An entry of an archive's directory."""

    name: bytes
    method: int
    compressed: int
    size: int
    offset: int


def check_tensors(path: Path) -> Literal["torch", "safetensors"]:
    """Raise ValueError for a file of tensors that is none, or may take more time or memory than its size lets expect.

    Args:
        path: of safetensors, or of what ``torch.save`` writes since torch 1.6; its contents say which, not its name.

    Returns:
        Which of the two it is.

    Raises:
        FileNotFoundError: there is nothing at the path.
    """
    size = check_regular(path)
    with path.open("rb") as file:
        first = file.read(FIRST_BYTES)
        if first.startswith(MAGIC):
            _check_torch(file, size)
            return "torch"
        headed = first[4:9] == b"\0\0\0\0{"
        if not headed and (kind := kind_of(first)):
            raise ValueError(kind)
        if headed or path.suffix == ".safetensors":
            _check_safetensors(file, size)
            return "safetensors"
    raise ValueError("neither what torch.save writes since torch 1.6 nor safetensors")


def check_archive(path: Path) -> list[Member]:
    """Raise ValueError unless an archive is as torch and NumPy write it, so that it holds no more than it has bytes.

    Returns:
        Its members in the order of their places.

    Raises:
        FileNotFoundError: there is nothing at the path.
    """
    size = check_regular(path)
    with path.open("rb") as file:
        members = _listed(file, size)
    _check_stored(members)
    return members


def _check_torch(file: IO[bytes], size: int) -> None:
    """Raise ValueError for an archive of something else than tensors."""
    members = _listed(file, size)
    if kind := archive_kind([member.name for member in members]):
        raise ValueError(kind)
    _check_stored(members)
    for member in members:
        if member.name.lower().endswith(PICKLE):
            _check_pickle(file, member, len(members))


def _listed(file: IO[bytes], size: int) -> list[Member]:
    """The members of an archive in the order of their places, which must not overlap."""
    start, directory, count = _directory(file, size)
    members = sorted(_members(directory, count), key=lambda member: member.offset)
    ends = [member.offset + LOCAL.size + len(member.name) + member.compressed for member in members]
    starts = [*(member.offset for member in members[1:]), start]
    if any(end > following for end, following in zip(ends, starts, strict=bool(members))):
        raise ValueError("an archive whose members overlap")
    return members


def _check_stored(members: list[Member]) -> None:
    """Raise ValueError unless all members are as large as they are in the archive."""
    if any(member.method != 0 or member.compressed != member.size for member in members):
        raise ValueError(f"{COMPRESSED}, which may unpack to any size")


def _check_pickle(file: IO[bytes], member: Member, members: int) -> None:
    """Raise ValueError for a pickle of more than tensors, names and numbers, or one that is long for its tensors."""
    if member.size > DESCRIPTION_BYTES + MEMBER_BYTES * members:
        raise ValueError(f"its {members:,} members are described in {member.size:,} bytes")
    *_, name, extra = _unpacked(LOCAL, file, member.offset)
    file.seek(member.offset + LOCAL.size + name + extra)
    pickled = file.read(member.size)
    for module, called in NAMED.findall(pickled):
        plain = PLAIN.fullmatch(module + b"." + called)
        if not plain or ((module, called) == ENCODE and not encodes_numbers_only(pickled)):
            where = f"{module.decode()}.{called.decode()}"
            raise ValueError(f"a pickle of something else, {where}, which is not executed; {TRUSTED}")


def _directory(file: IO[bytes], size: int) -> tuple[int, bytes, int]:
    """The place of an archive's directory, its bytes and the number of its entries.

    It must end the file: where comments or other bytes follow, two readers may find two directories.
    """
    end = size - END.size
    signature, *_, count, length, start, comment = _unpacked(END, file, end)
    if signature != b"PK\x05\x06" or comment != 0:
        raise ValueError(f"an archive that does not end as archives do, perhaps cut short; {AGAIN}")
    if end >= LOCATOR.size + END_64.size:
        locator, _, place, _ = _unpacked(LOCATOR, file, end - LOCATOR.size)
        if locator == b"PK\x06\x07":
            end -= LOCATOR.size + END_64.size
            signature, *_, count, length, start = _unpacked(END_64, file, end)
            if signature != b"PK\x06\x06" or place != end:
                raise ValueError("an archive whose directory is not where it says")
    if count > MOST_MEMBERS or length > DIRECTORY_BYTES:
        raise ValueError(
            f"an archive of {count:,} members, listed in {length:,} bytes; it may have {MOST_MEMBERS:,} members"
        )
    if start + length != end:
        raise ValueError("an archive whose directory is not where it says")
    file.seek(start)
    return start, file.read(length), count


def _unpacked(form: struct.Struct, file: IO[bytes], place: int) -> tuple[Any, ...]:
    """The values at a place of a file, which may lie beyond it."""
    file.seek(max(place, 0))
    return form.unpack(file.read(form.size).ljust(form.size, b"\0"))


def _members(directory: bytes, count: int) -> Iterator[Member]:
    place = 0
    for _ in range(count):
        if place + MEMBER.size > len(directory):
            raise ValueError("an archive whose directory is cut short")
        signature, *_, method, _, _, _, compressed, size, name, extra, comment, _, _, _, offset = MEMBER.unpack_from(
            directory, place
        )
        if signature != b"PK\x01\x02":
            raise ValueError("an archive whose directory is damaged")
        place += MEMBER.size
        wide = _wide(directory[place + name : place + name + extra])
        values = [next(wide, NARROW) if value == NARROW else value for value in (size, compressed, offset)]
        yield Member(directory[place : place + name], method, values[1], values[0], values[2])
        place += name + extra + comment
    if place != len(directory):
        raise ValueError("an archive whose directory holds more than its members")


def _wide(extra: bytes) -> Iterator[int]:
    """The numbers of more than 32 bits that an entry's extra field holds."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            yield from (value for (value,) in struct.iter_unpack("<Q", extra[4 : 4 + length - length % 8]))
            return
        extra = extra[4 + length :]


def _check_safetensors(file: IO[bytes], size: int) -> None:
    """Raise ValueError for a header that is longer, or lists more tensors, than a model's, or than the file has."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    header = file.read(min(length, DIRECTORY_BYTES))
    count = header.count(b'"dtype"')
    if count > MOST_MEMBERS or length > DESCRIPTION_BYTES + MEMBER_BYTES * count:
        raise ValueError(f"its header has {length:,} bytes and lists {count:,} tensors, not at most {MOST_MEMBERS:,}")
    needed = 8 + length + max((int(end) for end in ENDS.findall(header)), default=0)
    if needed > size:
        raise ValueError(f"cut short: safetensors of {needed:,} bytes, of which it has {size:,}; {AGAIN}")
