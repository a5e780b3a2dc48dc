"""Groups of runs on the page: those that differ only in their seeds have one number, and so one colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracer_lightning.reporting.comparison import Comparison
from tracer_lightning.reporting.model_choices import ZERO_SHOT
from tracer_lightning.reporting.settings import Settings
from tracer_lightning.reporting.style import SERIES_COLOURS

UNTRAINED_COLOUR = "var(--before)"


class Groups:
    """Numbers of the groups of a comparison. Each model before training is a group of its own.

    Args:
        comparison: the comparison whose rows are numbered.
    """

    def __init__(self, comparison: Comparison) -> None:
        self._numbers: dict[frozenset[Any], int] = {}
        self.of_rows: Sequence[int] = [
            number if row.model == ZERO_SHOT else self._numbers.setdefault(frozenset(row.settings.items()), number)
            for number, row in enumerate(comparison.rows)
        ]
        """Number of the group of each row."""
        trained = dict.fromkeys(self._numbers.values())
        self.colours: Mapping[int, str] = {
            **dict.fromkeys(self.of_rows, UNTRAINED_COLOUR),
            **{number: SERIES_COLOURS[rank % len(SERIES_COLOURS)] for rank, number in enumerate(trained)},
        }
        """CSS colour by the number of a group; colours repeat after twelve."""

    def number_of(self, settings: Settings) -> int | None:
        """Number of the group of runs with these settings; None if they are not compared."""
        return self._numbers.get(frozenset(settings.items()))
