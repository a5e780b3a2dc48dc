"""Sequential reading of shards."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice

from tracer_lightning.data.images.image_source import RawSample
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.samples import (
    KNOWN,
    REASONS,
    describe_left_out,
    parse_captions,
    parse_sample,
    stream_samples,
)
from tracer_lightning.data.shards.store import Shard
from tracer_lightning.data.shards.tar import TarBytes, TarMember

POSITION_BITS = 32
"""Number of bits of a sample's position within its shard; the higher bits of its index are the shard's number."""


def read_shard(shard: Shard, number: int, labels: ClassLabels) -> Iterator[tuple[int, RawSample]]:
    """Yield (index, sample) of every complete sample of a shard in order; warn at the end of samples left out.

    Args:
        shard: shard, which is streamed from its root.
        number: number of the shard in its split.
        labels: classes of the samples.

    Raises:
        ValueError: the shard is missing, damaged or truncated, or has an invalid label or member.
    """
    counts = [0] * len(REASONS)
    with shard.open() as stream:
        file = TarBytes(stream, shard)

        def take(member: TarMember, suffix: str) -> bytes:
            return file.read(member.size) if suffix in KNOWN else b""

        for position, (key, sample) in enumerate(stream_samples(file, take)):
            parts = parse_sample(shard, key, sample, bytes)
            if isinstance(parts, int):
                counts[parts] += 1
                continue
            captions: tuple[str, ...] = ()
            if parts.caption is not None:
                where = f"{shard}: {key}.{parts.caption_suffix}"
                captions = parse_captions(parts.caption, parts.caption_suffix, where)
            label = labels.number(shard, parts.label, bool(captions))
            raw = RawSample(parts.image, label, f"{key} in {shard}", captions, shard.domain)
            yield (number << POSITION_BITS) + position, raw
    if any(counts):
        warnings.warn(f"{shard}: {describe_left_out(counts)}", stacklevel=2)


class ShardStream:
    """One of a fixed number of streams that together form the global training batches.

    Each stream has its own shards. The order depends on the number of streams and not on that of processes and workers:
    any number that divides the streams reads the same batches. A stream with fewer samples than others starts over at
    its first shard; surplus samples of longer streams are dropped. Shards that can't be distributed evenly are read by
    all streams, each of which takes a share of their samples.

    Args:
        shards: all shards of the split.
        stream: number of this stream.
        streams: number of streams.
        seed: seed of this epoch.
        buffer: number of samples in the stream's shuffle buffer.
        labels: classes of the samples.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        stream: int,
        streams: int,
        seed: tuple[int, int],
        buffer: int,
        labels: ClassLabels,
    ) -> None:
        self.shards, self.stream, self.streams, self.labels = shards, stream, streams, labels
        self.buffer, self.random = buffer, random.Random(f"{seed} {stream}")
        self.order = list(range(len(shards)))
        random.Random(str(seed)).shuffle(self.order)

    def __iter__(self) -> Iterator[tuple[int, RawSample]]:
        """Yield (index, sample) endlessly; every pass over the stream's shards is shuffled within the buffer."""
        from webdataset.filters import shuffle

        mix = shuffle(self.buffer, initial=self.buffer, rng=self.random)
        while True:
            empty = True
            for sample in mix(self._single_pass()):
                empty = False
                yield sample
            if empty:
                raise ValueError(f"streams={self.streams} are too many for the samples of {len(self.shards)} shards")

    def _single_pass(self) -> Iterator[tuple[int, RawSample]]:
        """Yield the samples of the stream's own shards, and its share of those that can't be distributed evenly."""
        even = len(self.order) - len(self.order) % self.streams
        yield from self._read(self.order[self.stream : even : self.streams])
        yield from islice(self._read(self.order[even:]), self.stream, None, self.streams)

    def _read(self, order: Sequence[int]) -> Iterator[tuple[int, RawSample]]:
        for shard in order:
            yield from read_shard(self.shards[shard], shard, self.labels)


def assign_shards(shards: int, reader: int, readers: int) -> Iterator[tuple[int, int, int]]:
    """Yield (shard, offset, stride) of the samples that one of several readers reads; each sample has one reader."""
    for shard in range(shards):
        shard_readers = [shard % readers] if shards >= readers else list(range(shard, readers, shards))
        if reader in shard_readers:
            yield shard, shard_readers.index(reader), len(shard_readers)
