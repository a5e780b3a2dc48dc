"""Where every sample of a tar lies, found by walking its headers once."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracer_lightning.data.files import SUFFIXES
from tracer_lightning.data.shards.manifest import CAPTION, LABEL
from tracer_lightning.data.shards.tar import Member, TarBytes, label_of, samples
from tracer_lightning.storage import check_archive, replacing

NO_LABEL = -1
FIELDS = ("image_offset", "image_size", "caption_offset", "caption_size", "label")


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


def scan_shard(path: Path) -> ShardIndex:
    """Index of the samples of a shard."""
    rows: list[tuple[int, ...]] = []
    incomplete = 0
    with path.open("rb") as stream:
        file = TarBytes(stream, path)

        def take(member: Member, suffix: str) -> tuple[Member, bytes]:
            return member, file.read(member.size) if suffix == LABEL else b""

        for _, sample in samples(file, take):
            row = _row(path, sample)
            rows += [row] if row else []
            incomplete += row is None
    columns = np.array(rows, np.int64).reshape(-1, len(FIELDS)).T
    return ShardIndex(**dict(zip(FIELDS, columns, strict=True)), incomplete=incomplete)


def _row(path: Path, sample: dict[str, tuple[Member, bytes]]) -> tuple[int, ...] | None:
    image = next((sample[suffix][0] for suffix in SUFFIXES if suffix in sample), None)
    label = label_of(path, sample[LABEL][1]) if LABEL in sample else NO_LABEL
    if image is None or label is None or (CAPTION not in sample and label == NO_LABEL):
        return None
    caption = sample[CAPTION][0] if CAPTION in sample else Member("", 0, 0)
    return (image.offset, image.size, caption.offset, caption.size, label)


def index_shard(path: Path, cache: Path) -> ShardIndex:
    """:func:`scan_shard`, remembered in the folder ``cache`` until the shard changes."""
    status = path.stat()
    identity = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{FIELDS}"
    remembered = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    if (found := _recalled(remembered, status.st_size)) is not None:
        return found
    index = scan_shard(path)
    cache.mkdir(parents=True, exist_ok=True)
    with replacing(remembered) as partial, partial.open("wb") as file:
        np.savez(file, **index._asdict())
    return index


def _recalled(file: Path, size: int) -> ShardIndex | None:
    """The index in the file; None where there is none, or not of a shard of this size, whoever wrote it."""
    if not file.exists():
        return None
    try:
        check_archive(file)
        with np.load(file, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in FIELDS}
            index = ShardIndex(**columns, incomplete=int(arrays["incomplete"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile):
        return None
    shapes = {(column.dtype, column.shape) for column in columns.values()}
    places = ((index.image_offset, index.image_size), (index.caption_offset, index.caption_size))
    if (
        len(shapes) != 1
        or (found := next(iter(shapes)))[0] != np.dtype(np.int64)
        or len(found[1]) != 1
        or any((offset < 0).any() or (length < 0).any() or (offset > size - length).any() for offset, length in places)
    ):
        return None
    return index
