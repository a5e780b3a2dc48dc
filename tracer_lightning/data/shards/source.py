"""The images of a split of shards, in any order."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.shards.index import ShardIndex, index_shard
from tracer_lightning.data.shards.labels import NO_LABEL, Labels
from tracer_lightning.data.shards.samples import REASONS, described, left_out
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.tar import TarBytes
from tracer_lightning.storage import decode_text

OPEN_FILES = 64


class Places(NamedTuple):
    """Where images and captions lie in their shards, as arrays (N,)."""

    image_offset: np.ndarray
    image_size: np.ndarray
    caption_offset: np.ndarray
    caption_size: np.ndarray


def no_sample(shards: Sequence[Path], counts: Sequence[int]) -> str:
    """Why there is no sample in shards, of which so many were left out by reason."""
    if not shards:
        return "the split holds no sample"
    with shards[0].open("rb") as stream:
        what = described(TarBytes(stream, shards[0]))
    reasons = left_out(counts)
    return f"{shards[0].parent} holds no sample: {what}{f'; {reasons}' if reasons else ''}"


def _numbers(path: Path, index: ShardIndex, labels: Labels) -> np.ndarray:
    """(N,) classes of a shard's samples."""
    for label in np.unique(index.label):
        labels.number(path, int(label), captioned=True)
    found = index.label.copy()
    for place, name in enumerate(index.names):
        named = index.name == place
        found[named] = labels.number(path, str(name), captioned=bool((index.caption_size[named] > 0).all()))
    return found


class IndexedSource:
    """Samples by position, read from where the index of their shard says.

    Args:
        shards: fetched to this machine if they are not on it.
        labels: their classes.
        cache: folder for indices.
    """

    def __init__(self, shards: Sequence[Shard], labels: Labels, cache: Path) -> None:
        self.paths = [shard.fetch() for shard in shards]
        self._domains = [shard.domain for shard in shards]
        indices = [index_shard(path, cache) for path in self.paths]
        self.left_out = sum((index.left_out for index in indices), np.zeros(len(REASONS), np.int64))
        """(R,) samples that were left out, by reason."""
        self._shard = np.repeat(np.arange(len(indices)), [len(index.label) for index in indices])
        if len(self) == 0:
            raise ValueError(no_sample(self.paths, self.left_out.tolist()))
        columns = {name: np.concatenate([getattr(index, name) for index in indices]) for name in Places._fields}
        self._places = Places(**columns)
        numbers = [_numbers(path, index, labels) for path, index in zip(self.paths, indices, strict=True)]
        self.labels = np.concatenate(numbers)
        """(N,) classes; -1 where there is none."""
        self._open: OrderedDict[tuple[int, int], int] = OrderedDict()

    def __del__(self) -> None:
        for (owner, _), descriptor in getattr(self, "_open", {}).items():
            if owner == os.getpid():
                os.close(descriptor)

    @property
    def unlabelled(self) -> int:
        """How many samples have a caption and no class."""
        return int((self.labels == NO_LABEL).sum())

    def __len__(self) -> int:
        """Number of complete samples."""
        return len(self._shard)

    def __getitem__(self, index: int) -> RawSample:
        """The encoded image, its class (-1: none) and its own caption (None: none)."""
        places, shard = self._places, int(self._shard[index])
        data = self._read(shard, places.image_offset[index], places.image_size[index])
        caption = None
        if places.caption_size[index]:
            caption = self._read(shard, places.caption_offset[index], places.caption_size[index])
        origin = f"{self.paths[shard]} at byte {places.image_offset[index]}"
        text = None if caption is None else decode_text(caption, origin)
        return RawSample(data, int(self.labels[index]), origin, text, self._domains[shard])

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        """Bytes of a shard; a process keeps at most ``OPEN_FILES`` files open, and none of its parent's."""
        key = (os.getpid(), shard)
        if key not in self._open:
            if len(self._open) >= OPEN_FILES:
                owner, descriptor = self._open.popitem(last=False)
                if owner[0] == os.getpid():
                    os.close(descriptor)
            self._open[key] = os.open(self.paths[shard], os.O_RDONLY)
        self._open.move_to_end(key)
        return os.pread(self._open[key], int(size), int(offset))
