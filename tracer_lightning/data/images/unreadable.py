"""Which images of each set could not be read, and whether they are too many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tracer_lightning.data.images.samples import PADDING
from tracer_lightning.types import Batch, EvalSet

TRAINING = None
"""Stands for the training set where evaluation sets are named."""


class Tally(NamedTuple):
    """One set, as far as this process has read it."""

    unreadable: frozenset[str] = frozenset()
    read: bool = False
    """Whether an image of it could be read."""


class UnreadableImages:
    """The images that this process could not read, by set; ValueError where they are too many of one.

    A set of which nothing can be read does not end a run: it has no scores, so that none can be wrong.

    Args:
        max_bad_fraction: share of a set's images that may be unreadable; above 0, one of them always may.
    """

    def __init__(self, max_bad_fraction: float) -> None:
        if not 0.0 <= max_bad_fraction < 1.0:
            raise ValueError(f"max_bad_fraction must lie in [0, 1), found {max_bad_fraction}")
        self.max_bad_fraction = max_bad_fraction
        self._tallies: dict[EvalSet | None, Tally] = {}

    @property
    def all(self) -> set[str]:
        """Where they are, and why they can't be read."""
        return {origin for tally in self._tallies.values() for origin in tally.unreadable}

    def count(self, batch: Batch, eval_set: EvalSet | None, size: Callable[[], int]) -> None:
        """Take in a batch.

        Args:
            batch: with labels on any device, which is not waited for while all can be read.
            eval_set: whose batch it is; ``TRAINING`` for the training set.
            size: gives the number of images of the set that this process reads.
        """
        tally = self._tallies.get(eval_set, Tally())
        unreadable = tally.unreadable | set(batch.unreadable)
        read = tally.read or eval_set is TRAINING or not unreadable or bool((batch.labels != PADDING).any())
        self._tallies[eval_set] = Tally(unreadable, read)
        if read and unreadable and len(unreadable) > math.ceil(self.max_bad_fraction * size()):
            name = "training" if eval_set is TRAINING else eval_set.name
            raise ValueError(
                f"data: {len(unreadable)} images can't be read, more than data.max_bad_fraction="
                f"{self.max_bad_fraction:g} allows of the {size():,} in the set {name}, among them {min(unreadable)}"
            )
