"""The pictures of a split of shards, in any order."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracer_lightning.data.picture import Picture
from tracer_lightning.data.shards.index import FIELDS, NO_LABEL, ShardIndex, index_shard
from tracer_lightning.data.shards.store import Shard

OPEN_FILES = 64


class IndexedSource:
    """Samples by position, read from where the index of their shard says.

    Args:
        shards: fetched to this machine if they are not on it.
        num_classes: labels must lie below; None where samples have captions of their own instead.
        cache: folder for indices.
    """

    def __init__(self, shards: Sequence[Shard], num_classes: int | None, cache: Path) -> None:
        self.paths = [shard.fetch() for shard in shards]
        self._domains = [shard.domain for shard in shards]
        indices = [index_shard(path, cache) for path in self.paths]
        self.incomplete = sum(index.incomplete for index in indices)
        """Samples that were left out: without picture, label or caption."""
        self._shard = np.repeat(np.arange(len(indices)), [len(index.label) for index in indices])
        columns = {name: np.concatenate([getattr(index, name) for index in indices] or [[]]) for name in FIELDS}
        self._index = ShardIndex(**columns, incomplete=self.incomplete)
        self._open: OrderedDict[tuple[int, int], int] = OrderedDict()
        if len(self) == 0:
            raise ValueError(f"{self.paths[0].parent if shards else 'the split'} holds no sample")
        for shard, index in enumerate(indices):
            low, high = index.label.min(initial=0), index.label.max(initial=0)
            if low < NO_LABEL or (num_classes is not None and high >= num_classes):
                label = low if low < NO_LABEL else high
                raise ValueError(f"{self.paths[shard]} has the label {label}, of {num_classes} classes")

    def __del__(self) -> None:
        for (owner, _), descriptor in getattr(self, "_open", {}).items():
            if owner == os.getpid():
                os.close(descriptor)

    @property
    def unlabelled(self) -> int:
        """How many samples have a caption and no class."""
        return int((self._index.label == NO_LABEL).sum())

    def __len__(self) -> int:
        """Number of complete samples."""
        return len(self._shard)

    def __getitem__(self, index: int) -> Picture:
        """The encoded picture, its class (-1: none) and its own caption (None: none)."""
        rows, shard = self._index, int(self._shard[index])
        data = self._read(shard, rows.image_offset[index], rows.image_size[index])
        caption = None
        if rows.caption_size[index]:
            caption = self._read(shard, rows.caption_offset[index], rows.caption_size[index]).decode(errors="replace")
        origin = f"{self.paths[shard]} at byte {rows.image_offset[index]}"
        return Picture(data, int(rows.label[index]), origin, caption, self._domains[shard])

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
