"""One shard: samples in a tar file that is the same whenever and wherever it is written."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.data.shards.manifest import Manifest, Shard, file_hash, sample_key
from tracer_lightning.data.shards.samples import CAPTION, LABEL
from tracer_lightning.storage import atomic_file


class Item(NamedTuple):
    """One sample, before its image is read."""

    read: Callable[[], bytes]
    """The image's encoded bytes, the same at every call."""
    origin: str
    """Names the sample in messages; with ``size`` it tells one source from another."""
    suffix: str
    """Of the image's format, without a dot."""
    label: int | None = None
    caption: str | None = None
    size: int | None = None
    """Bytes of the image, where known without reading it."""


def write_shard(path: Path, order: Sequence[Item], start: int, limits: Manifest) -> Shard:
    """Write the samples from ``start`` on, as many as fit, and give the file its name once it is complete."""
    count = 0
    with atomic_file(path) as partial, tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for item in order[start : start + limits["max_samples"]]:
            members = _members(item, start + count)
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


def _members(item: Item, number: int) -> dict[str, bytes]:
    image = item.read()
    if not image:
        raise ValueError(f"{item.origin} is empty; restore the image or leave it out")
    members = {item.suffix: image}
    if item.label is not None:
        members[LABEL] = str(item.label).encode()
    if item.caption:
        members[CAPTION] = item.caption.encode()
    return {f"{sample_key(number)}.{suffix}": data for suffix, data in members.items()}


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
