"""Images that are decoded once and kept in memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.data.images.decoding import UnreadableImageError
from tracer_lightning.data.images.image_source import ImageSource, RawSample
from tracer_lightning.data.images.samples import Transform
from tracer_lightning.phases import phase

InMemory = bool | Literal["auto"]
Prepare = Callable[[bytes, int], Tensor]
"""Function from an encoded image and its position in the source to (3, H, W) uint8."""
AUTO_BYTES = 512 << 20
"""Maximum size of a set that is kept automatically: 512 MiB in each process."""
AUTO_DIVISOR = 4
"""A set is kept automatically only if it takes at most a quarter of the memory available to the process."""
PROBED = 32
"""Number of images from which the size of a set is estimated."""
TASK, CHUNK = 16, 256
"""Number of images that a thread decodes at a time, and between two updates of the progress bar."""
BLOCK_BYTES = 64 << 20
"""Minimum size of a tensor of pixels. Few large tensors, unlike one for each image, are shared by forked workers."""
NOT_KEPT = -1
"""Number of the block of an image that could not be decoded."""


class PackedTexts:
    """Immutable sequence of texts in one object, whose memory forked workers share.

    Args:
        texts: texts; they may contain surrogate escapes, as paths do.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
        self._starts = np.cumsum([0, *(len(text) for text in encoded)])
        self._content = b"".join(encoded)

    def __getitem__(self, index: int) -> str:
        """Return one text."""
        return self._content[self._starts[index] : self._starts[index + 1]].decode("utf-8", "surrogateescape")


class PackedCaptions:
    """Immutable sequence of the captions of each image, whose memory forked workers share.

    Args:
        captions: captions of each image.
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        self.starts = np.cumsum([0, *map(len, captions)])
        """(N + 1,) number of captions of all images before each one, and in all."""
        self._texts = PackedTexts([text for texts in captions for text in texts])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> tuple[str, ...]:
        """Return the captions of one image."""
        return tuple(self._texts[number] for number in range(self.starts[index], self.starts[index + 1]))


class DecodedSource:
    """Source whose images are decoded once, when it is made, and kept in memory.

    An image that can't be decoded is not kept: its encoded data are read again whenever it is accessed, so that it
    fails where it would fail without this class.

    Args:
        source: source of encoded images.
        prepare: function that decodes an image; any :class:`UnreadableImageError` means that it is not kept.
        name: description of the images, for the progress bar.
        limit: maximum number of bytes; None for any.

    Raises:
        MemoryLimitError: the images take more than ``limit`` bytes.
    """

    def __init__(self, source: ImageSource, prepare: Prepare, name: str, limit: int | None = None) -> None:
        self.source = source
        self.nbytes = 0
        """Number of bytes of all decoded images."""
        self._blocks: list[Tensor] = []
        pending: list[Tensor] = []
        pending_bytes = 0
        rows, origins, captions = [], [], []
        for raw, image in _decode_all(source, prepare, name):
            height, width = (0, 0) if image is None else image.shape[-2:]
            block = NOT_KEPT if image is None else len(self._blocks)
            rows.append((block, pending_bytes, height, width, raw.label, raw.domain))
            origins.append(raw.origin)
            captions.append(raw.captions)
            if image is None:
                continue
            pending.append(image.reshape(-1))
            pending_bytes += image.numel()
            self.nbytes += image.numel()
            if limit is not None and self.nbytes > limit:
                raise MemoryLimitError
            if pending_bytes >= BLOCK_BYTES:
                self._blocks.append(torch.cat(pending))
                pending, pending_bytes = [], 0
        if pending:
            self._blocks.append(torch.cat(pending))
        self._rows = np.array(rows, dtype=np.int64)  # block, offset, height, width, label, domain
        self._origins = PackedTexts(origins)
        self._captions = PackedCaptions(captions) if any(captions) else None

    @property
    def labels(self) -> Sequence[int] | np.ndarray:
        """(N,) classes; -1 for none."""
        return self.source.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> RawSample:
        """Return one sample with its decoded image or, where that could not be decoded, its encoded one."""
        block, start, height, width, label, domain = self._rows[index].tolist()
        if block == NOT_KEPT:
            return self.source[index]
        image = self._blocks[block][start : start + 3 * height * width].view(3, height, width)
        captions = () if self._captions is None else self._captions[index]
        return RawSample(image, label, self._origins[index], captions, domain)


class MemoryLimitError(Exception):
    """Raised for images that take more memory than they may."""


class EncodedOnly:
    """Transform that applies another one to encoded images; decoded ones are returned as they are.

    Args:
        transform: transform of encoded images.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, data: Any, rng: np.random.Generator) -> Tensor:
        """Return (3, size, size) uint8."""
        return data if isinstance(data, Tensor) else self.transform(data, rng)


def check_in_memory(in_memory: Any) -> InMemory:
    """Return the argument; raise ValueError unless it is True, False or ``auto``."""
    if isinstance(in_memory, bool) or in_memory == "auto":
        return in_memory  # type: ignore[no-any-return]
    raise ValueError(f"in_memory must be True, False or 'auto', got {in_memory!r}")


@phase("data")
def keep_in_memory(
    source: ImageSource, prepare: Prepare, name: str, in_memory: InMemory, available: int | None
) -> DecodedSource | None:
    """Decode the images of a set, if they are to be kept in memory.

    Args:
        source: source of encoded images.
        prepare: see :class:`DecodedSource`.
        name: description of the images, for messages.
        in_memory: whether to keep them; ``auto`` keeps at most ``AUTO_BYTES`` and a quarter of what is available.
        available: number of bytes that this process may use; None if unknown.

    Returns:
        None for images that are not kept.

    Raises:
        ValueError: ``in_memory`` is True, and the available memory does not suffice.
    """
    if in_memory is False:
        return None
    estimate, limit = _estimate_bytes(source, prepare), available
    if in_memory == "auto":
        limit = AUTO_BYTES if available is None else min(AUTO_BYTES, available // AUTO_DIVISOR)
    try:
        if limit is not None and estimate > limit:
            raise MemoryLimitError
        return DecodedSource(source, prepare, name, limit)
    except MemoryLimitError:
        if in_memory == "auto":
            return None
        assert available is not None
        raise ValueError(
            f"in_memory=True: {len(source):,} {name} would take about {megabytes(estimate)} or more, and "
            f"{megabytes(available)} of memory are available to this process; set in_memory to 'auto' or False"
        ) from None


def megabytes(count: int) -> str:
    """Format a number of bytes."""
    return f"{count / 1e6:,.0f} MB"


def _estimate_bytes(source: ImageSource, prepare: Prepare) -> int:
    """Estimate the number of bytes of all images from evenly spaced ones."""
    sizes = []
    for index in np.unique(np.linspace(0, len(source) - 1, PROBED).round().astype(int)).tolist():
        if (image := _decode_sample(source[index], index, prepare)) is not None:
            sizes.append(image.numel())
    return round(sum(sizes) / max(1, len(sizes)) * len(source))


def _decode_sample(raw: RawSample, index: int, prepare: Prepare) -> Tensor | None:
    try:
        return prepare(raw.data, index)
    except UnreadableImageError:
        return None


def _decode_samples(
    samples: Sequence[tuple[RawSample, int]], prepare: Prepare
) -> list[tuple[RawSample, Tensor | None]]:
    return [(raw._replace(data=None), _decode_sample(raw, index, prepare)) for raw, index in samples]


def _decode_all(source: ImageSource, prepare: Prepare, name: str) -> Iterator[tuple[RawSample, Tensor | None]]:
    """Yield each sample with its decoded image, None for one that can't be decoded, from as many threads as cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    bar = progress_bar(total=len(source), desc=f"decoding {name}", unit="image")
    # PIL's decoders change warning filters; threads would not restore each other's
    with warnings.catch_warnings(), ThreadPoolExecutor(cores) as threads, bar:
        for start in range(0, len(source), CHUNK):
            end = min(start + CHUNK, len(source))
            tasks = []
            for first in range(start, end, TASK):
                samples = [(source[index], index) for index in range(first, min(first + TASK, end))]  # in one thread,
                tasks.append(threads.submit(_decode_samples, samples, prepare))  # since sources may not allow several
            for task in tasks:
                yield from task.result()
            bar.update(end - start)
