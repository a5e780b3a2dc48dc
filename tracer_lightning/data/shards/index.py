"""Where every sample of a tar lies, found by walking its headers once."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

BLOCK = 512
IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
LFS_POINTER = b"version https://git-lfs"
NO_LABEL = -1
FIELDS = ("image_offset", "image_size", "caption_offset", "caption_size", "label")


class Member(NamedTuple):
    """One file within a tar."""

    name: str
    offset: int
    """Of its first byte, within the tar."""
    size: int


class ShardIndex(NamedTuple):
    """The samples of one shard, as arrays (N,)."""

    image_offset: np.ndarray
    image_size: np.ndarray
    caption_offset: np.ndarray
    caption_size: np.ndarray
    """0 where a sample has no caption of its own."""
    label: np.ndarray
    """-1 where a sample has no label."""
    incomplete: int
    """Samples left out: without picture, or with neither label nor caption."""


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base 256, for sizes of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    return int(field.split(b"\0")[0].strip() or b"0", 8)


def check_header(name: object, header: bytes, position: int) -> None:
    """Is this block of a tar the header of a member? ValueError names the tar and says what it is instead."""
    if position == 0 and header.startswith(LFS_POINTER):
        raise ValueError(f"{name} is a Git LFS pointer, not a shard; fetch the data with git lfs pull")
    try:
        valid = len(header) == BLOCK and sum(header[:148]) + sum(header[156:]) + 8 * ord(" ") == _number(
            header[148:156]
        )
    except ValueError:
        valid = False
    if not valid:
        what = "no tar file (an error page saved as one?)" if position == 0 else f"damaged at byte {position}"
        raise ValueError(f"{name} is {what}; delete it and fetch it again")


def _pax_path(content: bytes) -> str | None:
    """The ``path`` of a pax header, whose records are ``LENGTH KEY=VALUE``, each with a line end."""
    for record in content.split(b"\n"):
        _, _, entry = record.partition(b" ")
        if entry.startswith(b"path="):
            return entry[5:].decode()
    return None


def walk_tar(path: Path) -> Iterator[Member]:
    """The regular files of a tar, in order; ValueError where it is damaged or truncated."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        end, position, long_name = os.fstat(descriptor).st_size, 0, None
        if end < BLOCK:
            check_header(path, os.pread(descriptor, BLOCK, 0), 0)
        while position + BLOCK <= end:
            header = os.pread(descriptor, BLOCK, position)
            if not any(header):
                return
            check_header(path, header, position)
            size, offset, kind = _number(header[124:136]), position + BLOCK, header[156:157]
            if offset + size > end:
                break
            if kind in (b"L", b"x"):
                content = os.pread(descriptor, size, offset)
                long_name = content.split(b"\0")[0].decode() if kind == b"L" else _pax_path(content)
            elif kind in (b"0", b"\0"):
                name = header[:100].split(b"\0")[0].decode()
                prefix = header[345:500].split(b"\0")[0].decode() if header[257:262] == b"ustar" else ""
                yield Member(long_name or (f"{prefix}/{name}" if prefix else name), offset, size)
                long_name = None
            position = offset + -(-size // BLOCK) * BLOCK
    finally:
        os.close(descriptor)
    raise ValueError(f"{path} is truncated at byte {end}: it has no end-of-archive mark; delete it and fetch it again")


def scan_shard(path: Path) -> ShardIndex:
    """Index of a shard, whose samples are runs of members with the same name up to the first dot of its last part."""
    descriptor = os.open(path, os.O_RDONLY)
    rows: list[tuple[int, ...]] = []
    incomplete, key, sample = 0, None, {}
    try:
        for member in [*walk_tar(path), Member("\0.", 0, 0)]:  # the last one only ends the last sample
            folder, _, file = member.name.rpartition("/")
            stem, _, suffix = file.partition(".")
            if not stem:  # what some systems add beside a file
                continue
            if key is not None and (folder, stem) != key:
                row = _row(descriptor, sample)
                rows += [row] if row else []
                incomplete += row is None
                sample = {}
            key = (folder, stem)
            sample[suffix.lower()] = member
    finally:
        os.close(descriptor)
    columns = np.array(rows, np.int64).reshape(-1, len(FIELDS)).T
    return ShardIndex(**dict(zip(FIELDS, columns, strict=True)), incomplete=incomplete)


def _row(descriptor: int, sample: dict[str, Member]) -> tuple[int, ...] | None:
    image = next((sample[suffix] for suffix in IMAGE_SUFFIXES if suffix in sample), None)
    caption, label = sample.get("txt"), NO_LABEL
    if "cls" in sample:
        try:
            label = int(os.pread(descriptor, sample["cls"].size, sample["cls"].offset))
        except ValueError:
            return None
    if image is None or (caption is None and label == NO_LABEL):
        return None
    place = (caption.offset, caption.size) if caption else (0, 0)
    return (image.offset, image.size, *place, label)


def index_shard(path: Path, cache: Path) -> ShardIndex:
    """:func:`scan_shard`, remembered in the folder ``cache`` until the shard changes."""
    status = path.stat()
    identity = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{FIELDS}"
    remembered = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    if remembered.exists():
        with np.load(remembered, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in FIELDS}
            return ShardIndex(**columns, incomplete=int(arrays["incomplete"]))
    index = scan_shard(path)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = remembered.with_suffix(f".{uuid.uuid4().hex}.tmp.npz")
    np.savez(temporary, **index._asdict())
    temporary.replace(remembered)
    return index
