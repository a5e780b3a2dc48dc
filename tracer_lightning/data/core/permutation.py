"""Pseudorandom permutations of ranges that are too large to hold in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
"""Odd constant with good mixing, from splitmix64."""


def permute(positions: NDArray[np.uint64], size: int, seed: tuple[int, ...]) -> NDArray[np.uint64]:
    """Apply a random permutation of ``range(size)`` to positions, in memory proportional to their number.

    The permutation is a Feistel network over the smallest sufficient even number of bits. Values beyond ``size`` are
    permuted again until they lie below it (cycle walking), which takes at most four steps on average.

    Args:
        positions: (N,) positions, each below ``size``.
        size: length of the permuted range.
        seed: seed of the permutation.

    Returns:
        (N,) values, each below ``size``; different positions have different values.
    """
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    keys = np.random.default_rng(seed).integers(0, 2**64, ROUNDS, dtype=np.uint64)
    values = _feistel(positions.astype(np.uint64), half, keys)
    while (outside := values >= size).any():
        values[outside] = _feistel(values[outside], half, keys)
    return values


def _feistel(values: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        mixed = (right ^ key) * MULTIPLIER
        mixed = (mixed ^ (mixed >> np.uint64(29))) * MULTIPLIER
        left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
    return (left << half) | right
