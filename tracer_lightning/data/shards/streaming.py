"""Samples of tar files as they come."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.shards.labels import Labels
from tracer_lightning.data.shards.samples import CAPTION, KNOWN, REASONS, left_out, neighbours, parts_of
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.tar import Member, TarBytes
from tracer_lightning.storage import decode_text

POSITION_BITS = 32
"""A sample's index is its shard's number times 2 to this power, plus its position in the shard."""


def read_shard(shard: Shard, number: int, labels: Labels) -> Iterator[tuple[int, RawSample]]:
    """(index, image) of every complete sample of a shard, in order; how many others there were is said at its end.

    Args:
        shard: read from its root, without being kept.
        number: of the shard in its split.
        labels: its classes.

    Raises:
        ValueError: the shard is missing, damaged, truncated or has an impossible label or member.
    """
    counts = [0] * len(REASONS)
    with shard.open() as stream:
        file = TarBytes(stream, shard)

        def take(member: Member, suffix: str) -> bytes:
            return file.read(member.size) if suffix in KNOWN else b""

        for position, (key, sample) in enumerate(neighbours(file, take)):
            parts = parts_of(shard, key, sample, bytes)
            if isinstance(parts, int):
                counts[parts] += 1
                continue
            caption = None if parts.caption is None else decode_text(parts.caption, f"{shard}: {key}.{CAPTION}")
            label = labels.number(shard, parts.label, caption is not None)
            image = RawSample(parts.image, label, f"{key} in {shard}", caption, shard.domain)
            yield (number << POSITION_BITS) + position, image
    if any(counts):
        warnings.warn(f"{shard}: {left_out(counts)}", stacklevel=2)


class ShardStream:
    """One of the fixed number of lanes that together make a global training batch, each with shards of its own.

    Lanes, not processes, are what the order depends on: any number of processes and workers that divides them reads the
    same batches. A lane with fewer samples than others begins again at its first shard; what longer ones have beyond
    the epoch is left out of it. Shards that cannot be dealt out evenly are read by all lanes, a share of samples each.

    Args:
        shards: of the whole split.
        lane: number of this one.
        lanes: how many there are.
        seed: of this epoch.
        buffer: samples held to be drawn from.
        labels: the classes.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        lane: int,
        lanes: int,
        seed: tuple[int, int],
        buffer: int,
        labels: Labels,
    ) -> None:
        self.shards, self.lane, self.lanes, self.labels = shards, lane, lanes, labels
        self.buffer, self.random = buffer, random.Random(f"{seed} {lane}")
        self.order = list(range(len(shards)))
        random.Random(str(seed)).shuffle(self.order)

    def __iter__(self) -> Iterator[tuple[int, RawSample]]:
        """(index, image) without end, every pass over the lane's shards shuffled within the buffer."""
        from webdataset.filters import shuffle

        mix = shuffle(self.buffer, initial=self.buffer, rng=self.random)
        while True:
            found = False
            for sample in mix(self._once()):
                found = True
                yield sample
            if not found:
                raise ValueError(f"data.lanes={self.lanes} are too many for the samples of {len(self.shards)} shards")

    def _once(self) -> Iterator[tuple[int, RawSample]]:
        """Whole shards as far as they can be dealt out evenly, and a share of each that is left."""
        even = len(self.order) - len(self.order) % self.lanes
        yield from self._read(self.order[self.lane : even : self.lanes])
        yield from islice(self._read(self.order[even:]), self.lane, None, self.lanes)

    def _read(self, order: Sequence[int]) -> Iterator[tuple[int, RawSample]]:
        for shard in order:
            yield from read_shard(self.shards[shard], shard, self.labels)


def assign_shards(shards: int, reader: int, readers: int) -> Iterator[tuple[int, int, int]]:
    """(shard, share, sharers) of what one of several readers reads: every sample falls to exactly one of them."""
    for shard in range(shards):
        sharing = [shard % readers] if shards >= readers else list(range(shard, readers, shards))
        if reader in sharing:
            yield shard, sharing.index(reader), len(sharing)
