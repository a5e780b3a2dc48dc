"""Images with the same content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np

from tracer_lightning.data.pairs.sources import PairSource


def group_by_content(sizes: np.ndarray, read: Callable[[int], bytes]) -> np.ndarray:
    """Position of the first image with the same content, for each of N encoded images.

    Args:
        sizes: (N,) sizes in bytes; only images of a size that occurs several times are read.
        read: function from a position to the encoded image.

    Returns:
        (N,) positions.
    """
    first: dict[bytes, int] = {}
    positions = np.arange(len(sizes))
    _, size, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    for index in np.flatnonzero(counts[size] > 1).tolist():
        positions[index] = first.setdefault(sha256(read(index)).digest(), index)
    return positions


def find_copies(source: PairSource, others: Sequence[PairSource]) -> np.ndarray:
    """Positions in ``source`` of images with the content of an image of ``others``; only equal sizes are compared."""
    sizes = np.unique(source.sizes)
    known = {
        sha256(other[index].data).digest()
        for other in others
        for index in np.flatnonzero(np.isin(other.sizes, sizes)).tolist()
    }
    other_sizes = np.concatenate([other.sizes for other in others])
    candidates = np.flatnonzero(np.isin(source.sizes, other_sizes))
    is_copy = [sha256(source[index].data).digest() in known for index in candidates.tolist()]
    copies: np.ndarray = candidates[np.array(is_copy, bool)]
    return copies
