"""A published number and where it was published."""

from __future__ import annotations

from typing import NamedTuple


class PublishedValue(NamedTuple):
    """A published value.

    Attributes:
        value: The value, as a fraction.
        table: Number of its table.
        source: Identifier of the paper on arXiv.
    """

    value: float
    table: int
    source: str
