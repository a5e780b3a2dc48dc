"""Reproducible tar files of samples."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.data.shards.manifest import Manifest, ShardRecord, file_hash, sample_key
from tracer_lightning.data.shards.samples import CAPTION, LABEL
from tracer_lightning.storage import atomic_file


class SourceSample(NamedTuple):
    """Sample to write to a shard, whose image is read later."""

    read: Callable[[], bytes]
    """Function that returns the image's encoded bytes, which are the same at every call."""
    origin: str
    """Name of the sample in messages; with ``size`` it identifies the source."""
    suffix: str
    """File suffix of the image's format, without a dot."""
    label: int | None = None
    caption: str | None = None
    size: int | None = None
    """Size of the image in bytes, where known without reading it."""


def write_shard(path: Path, samples: Sequence[SourceSample], start: int, limits: Manifest) -> ShardRecord:
    """Atomically write one shard with as many samples from ``start`` on as fit."""
    count = 0
    with atomic_file(path) as partial, tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples[start : start + limits["max_samples"]]:
            members = _members(sample, start + count)
            size = sum(tarfile.BLOCKSIZE + _round_up(len(data), tarfile.BLOCKSIZE) for data in members.values())
            end = tar.offset + size + 2 * tarfile.BLOCKSIZE  # two empty blocks end a tar file
            if count and _round_up(end, tarfile.RECORDSIZE) > limits["max_bytes"]:
                break
            for name, data in members.items():
                member = tarfile.TarInfo(name)  # its defaults: mtime, uid and gid 0, no user, mode 644
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            count += 1
    return {"file": path.name, "samples": count, "bytes": path.stat().st_size, "sha256": file_hash(path)}


def _members(sample: SourceSample, number: int) -> dict[str, bytes]:
    image = sample.read()
    if not image:
        raise ValueError(f"{sample.origin} is empty; restore or remove the image")
    members = {sample.suffix: image}
    if sample.label is not None:
        members[LABEL] = str(sample.label).encode()
    if sample.caption:
        members[CAPTION] = sample.caption.encode()
    return {f"{sample_key(number)}.{suffix}": data for suffix, data in members.items()}


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
