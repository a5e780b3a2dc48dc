"""Random access to the samples of shards."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.shards.index import ShardIndex, index_shard
from tracer_lightning.data.shards.labels import NO_LABEL, ClassLabels
from tracer_lightning.data.shards.samples import (
    CAPTION_SUFFIXES,
    REASONS,
    describe_left_out,
    describe_members,
    parse_captions,
)
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.tar import TarBytes

MAX_OPEN_FILES = 64
"""Maximum number of shards that a process keeps open."""


class SampleOffsets(NamedTuple):
    """Offsets and sizes of images and captions in their shards, as arrays (N,)."""

    image_offset: np.ndarray
    image_size: np.ndarray
    caption_offset: np.ndarray
    caption_size: np.ndarray
    caption_suffix: np.ndarray


def describe_empty_split(shards: Sequence[Path], counts: Sequence[int]) -> str:
    """Describe why shards contain no sample, given the numbers of samples left out by reason."""
    if not shards:
        return "the split contains no sample"
    with shards[0].open("rb") as stream:
        members = describe_members(TarBytes(stream, shards[0]))
    reasons = describe_left_out(counts)
    return f"{shards[0].parent} contains no sample: {members}{f'; {reasons}' if reasons else ''}"


def _class_indices(path: Path, index: ShardIndex, labels: ClassLabels) -> np.ndarray:
    """Return the (N,) classes of a shard's samples."""
    for label in np.unique(index.label):
        labels.number(path, int(label), captioned=True)
    classes = index.label.copy()
    for number, name in enumerate(index.names):
        has_name = index.name == number
        captioned = bool((index.caption_size[has_name] > 0).all())
        classes[has_name] = labels.number(path, str(name), captioned)
    return classes


class IndexedSource:
    """Source of samples by position, read at the offsets in the shards' indices.

    Args:
        shards: shards, which are downloaded if they are remote.
        labels: classes of the samples.
        cache: folder for indices.

    Raises:
        ValueError: there is no complete sample, or a label is invalid.
    """

    def __init__(self, shards: Sequence[Shard], labels: ClassLabels, cache: Path) -> None:
        self.paths = [shard.fetch() for shard in shards]
        self._domains = [shard.domain for shard in shards]
        indices = [index_shard(path, cache) for path in self.paths]
        self.left_out = sum((index.left_out for index in indices), np.zeros(len(REASONS), np.int64))
        """(R,) numbers of samples that were left out, by reason."""
        self._shard = np.repeat(np.arange(len(indices)), [len(index.label) for index in indices])
        if len(self) == 0:
            raise ValueError(describe_empty_split(self.paths, self.left_out.tolist()))
        columns = {name: np.concatenate([getattr(index, name) for index in indices]) for name in SampleOffsets._fields}
        self._offsets = SampleOffsets(**columns)
        classes = [_class_indices(path, index, labels) for path, index in zip(self.paths, indices, strict=True)]
        self.labels = np.concatenate(classes)
        """(N,) classes; -1 for none."""
        self._open: OrderedDict[tuple[int, int], int] = OrderedDict()

    def __del__(self) -> None:
        for (owner, _), descriptor in getattr(self, "_open", {}).items():
            if owner == os.getpid():
                os.close(descriptor)

    @property
    def unlabelled(self) -> int:
        """Number of samples with a caption but no class."""
        return int((self.labels == NO_LABEL).sum())

    def __len__(self) -> int:
        """Number of complete samples."""
        return len(self._shard)

    def __getitem__(self, index: int) -> RawSample:
        """Return the encoded image, its class (-1 for none) and its own captions."""
        shard, offset = int(self._shard[index]), self._offsets.image_offset[index]
        data = self._read(shard, offset, self._offsets.image_size[index])
        return RawSample(data, int(self.labels[index]), self.origin(index), self.captions(index), self._domains[shard])

    def captions(self, index: int) -> tuple[str, ...]:
        """Return the captions of one sample, without reading its image."""
        offsets, shard = self._offsets, int(self._shard[index])
        if not offsets.caption_size[index]:
            return ()
        content = self._read(shard, offsets.caption_offset[index], offsets.caption_size[index])
        suffix = CAPTION_SUFFIXES[offsets.caption_suffix[index]]
        return parse_captions(content, suffix, f"{self.paths[shard]} at byte {offsets.caption_offset[index]}")

    def key(self, index: int) -> str:
        """Return a name of the sample that does not depend on where its shards are."""
        shard = int(self._shard[index])
        return f"{self.paths[shard].name}/{self._offsets.image_offset[index]}"

    @property
    def has_captions(self) -> np.ndarray:
        """(N,) whether each sample has captions."""
        has_captions: np.ndarray = self._offsets.caption_size > 0
        return has_captions

    @property
    def sizes(self) -> np.ndarray:
        """(N,) sizes of the encoded images in bytes."""
        return self._offsets.image_size

    def origin(self, index: int) -> str:
        """Return the location of a sample."""
        return f"{self.paths[int(self._shard[index])]} at byte {self._offsets.image_offset[index]}"

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        """Read bytes of a shard; a process keeps at most ``MAX_OPEN_FILES`` files open, and none of its parent's."""
        key = (os.getpid(), shard)
        if key not in self._open:
            if len(self._open) >= MAX_OPEN_FILES:
                (owner, _), descriptor = self._open.popitem(last=False)
                if owner == os.getpid():
                    os.close(descriptor)
            self._open[key] = os.open(self.paths[shard], os.O_RDONLY)
        self._open.move_to_end(key)
        return os.pread(self._open[key], int(size), int(offset))
