"""Held-out images of a set of pairs."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from tracer_lightning.data.pairs.problems import counted
from tracer_lightning.data.pairs.sources import PairSource, PairSubset

FEWEST = 100
"""Minimum number of held-out images: with fewer, one image more or less changes recall by more than a point."""


def hold_out(source: PairSource, fraction: float, seed: int, file: object) -> tuple[PairSubset, PairSubset]:
    """Split images, with all their captions, into training and validation.

    The choice depends only on the seed and the names of the images: it is the same in every process and on every
    machine, and changes little when images are added.

    Args:
        source: all images.
        fraction: fraction to hold out, in (0, 1); at least ``FEWEST`` images.
        seed: seed of the choice.
        file: name of the set, for messages.

    Returns:
        Training images and held-out images.

    Raises:
        ValueError: no training image would remain.
    """
    count = max(FEWEST, round(fraction * len(source)))
    if len(source) <= count:
        raise ValueError(
            f"{file} has {counted(len(source), 'image', 'images')}, and at least {FEWEST} are held out for "
            "validation; set val to a file of other pairs, or held_out.fraction to 0 and tests to a set to validate on"
        )
    keys = (f"{seed}/{source.key(index)}" for index in range(len(source)))
    digests = [sha256(key.encode(errors="surrogateescape")).digest() for key in keys]
    order = np.array(sorted(range(len(source)), key=digests.__getitem__))
    return PairSubset(source, np.sort(order[count:])), PairSubset(source, np.sort(order[:count]))
