"""Permutations of too many things to list."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8
MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
"""Odd, and well mixing: splitmix64's."""


def permuted(positions: NDArray[np.uint64], size: int, seed: tuple[int, ...]) -> NDArray[np.uint64]:
    """Where a random permutation of ``range(size)`` sends these positions, in little memory.

    It is a Feistel network over the least even number of bits, walked along its cycles until it comes to a number below
    ``size``, in four steps on average at most.

    Args:
        positions: (N,), each below ``size``.
        size: of what is permuted.
        seed: of the permutation.

    Returns:
        (N,), each below ``size``; those of different positions are different.
    """
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    keys = np.random.default_rng(seed).integers(0, 2**64, ROUNDS, dtype=np.uint64)
    values = _network(positions.astype(np.uint64), half, keys)
    while (outside := values >= size).any():
        values[outside] = _network(values[outside], half, keys)
    return values


def _network(values: NDArray[np.uint64], half: np.uint64, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = values >> half, values & mask
    for key in keys:
        mixed = (right ^ key) * MULTIPLIER
        mixed = (mixed ^ (mixed >> np.uint64(29))) * MULTIPLIER
        left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
    return (left << half) | right
