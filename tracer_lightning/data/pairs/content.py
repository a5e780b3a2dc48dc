"""Images with the same content."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from tracer_lightning.data.images.decoding import UnreadableImageError, decode
from tracer_lightning.data.pairs.problems import listed
from tracer_lightning.data.pairs.sources import PairSource
from tracer_lightning.functional.wording import counted


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


def is_readable(data: Any) -> bool:
    """Whether an encoded image can be decoded."""
    try:
        decode(data)
    except UnreadableImageError:
        return False
    return True


def warn_repeated(source: PairSource, name: object) -> None:
    """Warn of images of an evaluation set that have the content of another one, as which each is a wrong answer.

    Args:
        source: images with captions.
        name: name of the set, for messages.
    """
    first = group_by_content(source.sizes, lambda index: source[index].data)
    copies = [
        index for index in np.flatnonzero(first != np.arange(len(first))).tolist() if is_readable(source[index].data)
    ]
    if copies:
        pairs = [f"{source.key(index)} is {source.key(first[index])}" for index in copies]
        warnings.warn(
            f"{name}: {counted(len(copies), 'image has', 'images have')} the content of another one of the set, so "
            "that each counts as a wrong answer to the other's captions, and recall is too low: "
            f"{listed(pairs, len(pairs))}; give all captions to one of them",
            stacklevel=2,
        )


def find_copies(source: PairSource, references: Sequence[PairSource]) -> np.ndarray:
    """Positions in ``source`` of images with the content of an image of ``references``; only equal sizes are compared.

    Images that can't be decoded are no copies.
    """
    sizes = np.unique(source.sizes)
    known = {
        sha256(reference[index].data).digest()
        for reference in references
        for index in np.flatnonzero(np.isin(reference.sizes, sizes)).tolist()
    }
    reference_sizes = np.concatenate([reference.sizes for reference in references])
    candidates = np.flatnonzero(np.isin(source.sizes, reference_sizes))
    contents = (source[index].data for index in candidates.tolist())
    is_copy = [sha256(data).digest() in known and is_readable(data) for data in contents]
    copies: np.ndarray = candidates[np.array(is_copy, bool)]
    return copies
