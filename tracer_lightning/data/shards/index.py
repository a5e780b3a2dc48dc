"""Where every sample of a tar lies, found by walking its headers once."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracer_lightning.data.shards.labels import NO_LABEL
from tracer_lightning.data.shards.samples import REASONS, gathered, parts_of
from tracer_lightning.data.shards.tar import Member, TarBytes
from tracer_lightning.storage import atomic_file, check_archive

FIELDS = ("image_offset", "image_size", "caption_offset", "caption_size", "label", "name")


class ShardIndex(NamedTuple):
    """The samples of one shard, as arrays (N,)."""

    image_offset: np.ndarray
    image_size: np.ndarray
    caption_offset: np.ndarray
    caption_size: np.ndarray
    """0 where a sample has no caption of its own."""
    label: np.ndarray
    """-1 where a sample has no number as label."""
    name: np.ndarray
    """Place in ``names`` where the label is a name; -1 where it is none."""
    names: np.ndarray
    """(K,) texts that stand for classes."""
    left_out: np.ndarray
    """(R,) samples left out, by the reasons of :mod:`tracer_lightning.data.shards.samples`."""


def scan_shard(path: Path) -> ShardIndex:
    """Index of the samples of a shard."""
    rows: list[tuple[int, ...]] = []
    names: dict[str, int] = {}
    left_out = np.zeros(len(REASONS), np.int64)
    with path.open("rb") as stream:
        found = gathered(TarBytes(stream, path), lambda member, _: member)

        def content(member: Member) -> bytes:
            stream.seek(member.offset)
            return stream.read(member.size)

        for key, sample in found.items():
            parts = parts_of(path, key, sample, content)
            if isinstance(parts, int):
                left_out[parts] += 1
                continue
            image, caption = parts.image, parts.caption or Member("", 0, 0)
            label = parts.label if isinstance(parts.label, int) else NO_LABEL
            name = names.setdefault(parts.label, len(names)) if isinstance(parts.label, str) else NO_LABEL
            rows.append((image.offset, image.size, caption.offset, caption.size, label, name))
    columns = dict(zip(FIELDS, np.array(rows, np.int64).reshape(-1, len(FIELDS)).T, strict=True))
    return ShardIndex(**columns, names=np.array(list(names), np.str_), left_out=left_out)


def index_shard(path: Path, cache: Path) -> ShardIndex:
    """:func:`scan_shard`, remembered in the folder ``cache`` until the shard changes."""
    status = path.stat()
    identity = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{FIELDS}"
    remembered = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    if (found := _recalled(remembered, status.st_size)) is not None:
        return found
    index = scan_shard(path)
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_file(remembered) as partial, partial.open("wb") as file:
        np.savez(file, **index._asdict())
    return index


def _recalled(file: Path, size: int) -> ShardIndex | None:
    """The index in the file; None where there is none, or not of a shard of this size, whoever wrote it."""
    if not file.exists():
        return None
    try:
        check_archive(file)
        with np.load(file, allow_pickle=False) as arrays:
            index = ShardIndex(**{name: arrays[name] for name in ShardIndex._fields})
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile):
        return None
    return index if _fits(index, size) else None


def _fits(index: ShardIndex, size: int) -> bool:
    """Whether an index may be one of a shard of so many bytes."""
    shapes = {(column.dtype, column.shape) for column in index[: len(FIELDS)]}
    if len(shapes) != 1 or (shape := next(iter(shapes)))[0] != np.dtype(np.int64) or len(shape[1]) != 1:
        return False
    places = ((index.image_offset, index.image_size), (index.caption_offset, index.caption_size))
    inside = all(((at >= 0) & (length >= 0) & (at <= size - length)).all() for at, length in places)
    texts = (index.names.dtype.kind, index.names.ndim) == ("U", 1)
    counts = (index.left_out.dtype, index.left_out.shape) == (np.dtype(np.int64), (len(REASONS),))
    named = texts and ((index.name >= NO_LABEL) & (index.name < len(index.names))).all()
    return bool(inside and named and counts and (index.left_out >= 0).all())
