"""Indices of shards: offsets of all samples, from one pass over the tar headers."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracer_lightning.data.shards.labels import NO_LABEL
from tracer_lightning.data.shards.samples import CAPTION_SUFFIXES, REASONS, collect_samples, parse_sample
from tracer_lightning.data.shards.tar import TarBytes, TarMember
from tracer_lightning.storage import atomic_file, check_archive

RULES = 2
"""Number of the rules by which captions are accepted; indices made by earlier ones are not used."""
FIELDS = ("image_offset", "image_size", "caption_offset", "caption_size", "caption_suffix", "label", "name")


class ShardIndex(NamedTuple):
    """Offsets, sizes and labels of the samples of a shard, as arrays (N,)."""

    image_offset: np.ndarray
    image_size: np.ndarray
    caption_offset: np.ndarray
    caption_size: np.ndarray
    """Sizes of the members with captions in bytes; 0 for none."""
    caption_suffix: np.ndarray
    """Suffixes of the members with captions, as positions in ``CAPTION_SUFFIXES``."""
    label: np.ndarray
    """Labels that are numbers; -1 for none."""
    name: np.ndarray
    """Indices in ``names`` of labels that are names; -1 for none."""
    names: np.ndarray
    """(K,) distinct labels that are names."""
    left_out: np.ndarray
    """(R,) numbers of samples left out, by the reasons of :mod:`tracer_lightning.data.shards.samples`."""


def scan_shard(path: Path) -> ShardIndex:
    """Index the samples of a shard."""
    rows: list[tuple[int, ...]] = []
    names: dict[str, int] = {}
    left_out = np.zeros(len(REASONS), np.int64)
    with path.open("rb") as stream:
        samples = collect_samples(TarBytes(stream, path), lambda member, _: member)

        def content(member: TarMember) -> bytes:
            stream.seek(member.offset)
            return stream.read(member.size)

        for key, sample in samples.items():
            parts = parse_sample(path, key, sample, content)
            if isinstance(parts, int):
                left_out[parts] += 1
                continue
            image, caption = parts.image, parts.caption or TarMember("", 0, 0)
            label = parts.label if isinstance(parts.label, int) else NO_LABEL
            name = names.setdefault(parts.label, len(names)) if isinstance(parts.label, str) else NO_LABEL
            suffix = CAPTION_SUFFIXES.index(parts.caption_suffix)
            rows.append((image.offset, image.size, caption.offset, caption.size, suffix, label, name))
    columns = dict(zip(FIELDS, np.array(rows, np.int64).reshape(-1, len(FIELDS)).T, strict=True))
    return ShardIndex(**columns, names=np.array(list(names), np.str_), left_out=left_out)


def index_shard(path: Path, cache: Path) -> ShardIndex:
    """Return the index of a shard from the folder ``cache``, or scan the shard where it is new or has changed."""
    status = path.stat()
    identity = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}|{FIELDS}|{RULES}"
    cached = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    if (index := _load_index(cached, status.st_size)) is not None:
        return index
    index = scan_shard(path)
    cache.mkdir(parents=True, exist_ok=True)
    with atomic_file(cached) as partial, partial.open("wb") as file:
        np.savez(file, **index._asdict())
    return index


def _load_index(file: Path, size: int) -> ShardIndex | None:
    """Load a cached index; None where it is missing, damaged, or invalid for a shard of this size."""
    if not file.exists():
        return None
    try:
        check_archive(file)
        with np.load(file, allow_pickle=False) as arrays:
            index = ShardIndex(**{name: arrays[name] for name in ShardIndex._fields})
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile):
        return None
    return index if _is_valid(index, size) else None


def _is_valid(index: ShardIndex, size: int) -> bool:
    """Whether an index can be that of a shard of ``size`` bytes."""
    shapes = {(column.dtype, column.shape) for column in index[: len(FIELDS)]}
    if len(shapes) != 1 or (shape := next(iter(shapes)))[0] != np.dtype(np.int64) or len(shape[1]) != 1:
        return False
    ranges = ((index.image_offset, index.image_size), (index.caption_offset, index.caption_size))
    inside = all(((offset >= 0) & (length >= 0) & (offset <= size - length)).all() for offset, length in ranges)
    suffixes = (index.caption_suffix >= 0) & (index.caption_suffix < len(CAPTION_SUFFIXES))
    are_texts = (index.names.dtype.kind, index.names.ndim) == ("U", 1)
    are_counts = (index.left_out.dtype, index.left_out.shape) == (np.dtype(np.int64), (len(REASONS),))
    names_valid = are_texts and ((index.name >= NO_LABEL) & (index.name < len(index.names))).all()
    return bool(inside and suffixes.all() and names_valid and are_counts and (index.left_out >= 0).all())
