"""Rows of a file that can't be used: counted by reason, named, and bounded."""

from __future__ import annotations

import math
import warnings

from tracer_lightning.functional.wording import counted

SHOWN = 5
"""Maximum number of rows, images or captions that a message names for each reason."""
WITHOUT_IMAGE, WITHOUT_CAPTION, MISSING = "without an image", "without a caption", "whose image is missing"
ADDRESS = "whose image is an address"


def listed(examples: list[str], count: int) -> str:
    """Format some examples of ``count`` cases."""
    return "; ".join(examples[:SHOWN]) + (", ..." if count > SHOWN else "")


class Problems:
    """Rows of a file that are left out.

    Args:
        file: name of the file, for messages.
        max_bad_fraction: maximum fraction of rows that may be left out; a fraction above 0 always allows one.
    """

    def __init__(self, file: object, max_bad_fraction: float) -> None:
        self.file, self.max_bad_fraction = file, max_bad_fraction
        self.rows = 0
        """Number of all rows."""
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    def add(self, reason: str, location: str, count: int = 1) -> None:
        """Count rows that are left out.

        Args:
            reason: why, as in ``without a caption``.
            location: one of the rows, or its image.
            count: number of rows.
        """
        self._counts[reason] = self._counts.get(reason, 0) + count
        examples = self._examples.setdefault(reason, [])
        if location and len(examples) < SHOWN:
            examples.append(location)

    def check(self) -> None:
        """Warn of rows that are left out; raise ValueError where there are too many, or no others."""
        left_out = sum(self._counts.values())
        if not left_out:
            return
        reasons = ", ".join(
            f"{count:,} {reason}{f' ({listed(self._examples[reason], count)})' if self._examples[reason] else ''}"
            for reason, count in self._counts.items()
        )
        if left_out == self.rows or left_out > math.ceil(self.max_bad_fraction * self.rows):
            limit = f", more than max_bad_fraction={self.max_bad_fraction:g} allows" if left_out < self.rows else ""
            hint = ""
            if self._counts.get(ADDRESS):
                hint = "; download the images first, for example with img2dataset"
            elif self._counts.get(MISSING) == self.rows:
                hint = "; set folder to the folder that the paths of images are relative to"
            rows = counted(self.rows, "row")
            raise ValueError(f"{self.file}: {left_out:,} of {rows} can't be used{limit}: {reasons}{hint}")
        verb, rows = "is" if left_out == 1 else "are", counted(self.rows, "row")
        warnings.warn(f"{self.file}: {left_out:,} of {rows} {verb} left out: {reasons}", stacklevel=3)
