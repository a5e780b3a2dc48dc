"""Numbers as text, and changes as good or bad."""

from __future__ import annotations

import math
from typing import NamedTuple

FULL_TINT = 0.1
"""Change of a score that is coloured fully."""


class Change(NamedTuple):
    """A score against that before training."""

    text: str
    """Percentage points with their sign."""
    kind: str
    """``good``, ``bad`` or ``same``."""
    tint: int
    """How strongly it is coloured, in percent."""


def percent(value: float) -> str:
    """A share as a number of percent; a dash where it is no number."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def change(before: float, after: float, lower_is_better: bool = False) -> Change | None:
    """From one score to another, both shares; None where either is no number."""
    difference = after - before
    if not math.isfinite(difference):
        return None
    text = f"{100 * difference:+.1f}".replace("-", "−")
    if text[1:] == "0.0":
        return Change("±0.0", "same", 0)
    good = (difference < 0) == lower_is_better
    return Change(text, "good" if good else "bad", round(100 * min(1.0, abs(difference) / FULL_TINT)))


def short(value: float, digits: int = 3) -> str:
    """Any number in so many digits."""
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def ticks(least: float, greatest: float, about: int = 4) -> list[float]:
    """Round numbers within a range.

    Args:
        least: where the range begins.
        greatest: where it ends, beyond ``least``.
        about: how many there should be.
    """
    power = 10.0 ** math.floor(math.log10((greatest - least) / about))
    steps = [power * factor for factor in (1, 2, 2.5, 5, 10)]
    step = min(steps, key=lambda step: abs((greatest - least) / step - about))
    first = math.ceil(least / step - 1e-9)
    return [step * number for number in range(first, math.floor(greatest / step + 1e-9) + 1)]
