"""Limits on the number of unreadable images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from tracer_lightning.data.images.samples import PADDING
from tracer_lightning.functional.wording import counted

TRAINING = None
"""Value that stands for the training set in place of an evaluation set."""


class Tally(NamedTuple):
    """Counts of one set, as far as this process has read it."""

    unreadable: frozenset[str] = frozenset()
    """Locations of unreadable images, and the reasons."""
    any_readable: bool = False
    """Whether at least one image could be read."""


class UnreadableImages:
    """Unreadable images of this process by set; too many in one set raise a ValueError.

    A set without any readable image does not end a run: it has no scores that could be wrong.

    Args:
        max_bad_fraction: maximum fraction of unreadable images in a set; a fraction above 0 always allows one.
    """

    def __init__(self, max_bad_fraction: float) -> None:
        if not 0.0 <= max_bad_fraction < 1.0:
            raise ValueError(f"max_bad_fraction must lie in [0, 1), got {max_bad_fraction}")
        self.max_bad_fraction = max_bad_fraction
        self.training_name = "training"
        """Name of the training set, for messages."""
        self._tallies: dict[Any, Tally] = {}

    @property
    def all(self) -> set[str]:
        """Locations of all unreadable images, and the reasons."""
        return {origin for tally in self._tallies.values() for origin in tally.unreadable}

    def count(self, locations: Sequence[str], indices: Tensor, eval_set: Any, size: Callable[[], int]) -> None:
        """Count the unreadable images of a batch.

        Args:
            locations: locations of unreadable images, with the reasons.
            indices: (B,) positions on any device, -1 for padding; the device is not synchronised while all images are
                readable.
            eval_set: evaluation set of the batch; ``TRAINING`` for the training set.
            size: function that returns the number of images of the set that this process reads.

        Raises:
            ValueError: the set has too many unreadable images.
        """
        tally = self._tallies.get(eval_set, Tally())
        unreadable = tally.unreadable | set(locations)
        any_readable = tally.any_readable or eval_set is TRAINING or not unreadable or bool((indices != PADDING).any())
        self._tallies[eval_set] = Tally(unreadable, any_readable)
        if any_readable and unreadable and len(unreadable) > math.ceil(self.max_bad_fraction * size()):
            name = self.training_name if eval_set is TRAINING else eval_set.name
            raise ValueError(
                f"{counted(len(unreadable), 'image')} can't be read, more than "
                f"max_bad_fraction={self.max_bad_fraction:g} allows of the {size():,} that this process reads of the "
                f"set {name}, among them {min(unreadable)}"
            )
