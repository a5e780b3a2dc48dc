"""Format numbers, and rate changes as good or bad."""

from __future__ import annotations

import math
from typing import NamedTuple

FULL_TINT = 0.1
"""Change of a score, as a fraction, from which its colour is strongest."""


class ScoreChange(NamedTuple):
    """Change of a score against that before training."""

    text: str
    """Signed percentage points."""
    kind: str
    """``good``, ``bad`` or ``same``."""
    tint: int
    """Strength of the colour, in percent."""


def percent(value: float) -> str:
    """Format a fraction in percent; a dash if it is not finite."""
    return f"{100 * value:.1f}" if math.isfinite(value) else "–"


def format_score(value: float, is_fraction: bool = True) -> str:
    """Format a score, in percent if it is a fraction; a dash if it is not finite."""
    return percent(value) if is_fraction or not math.isfinite(value) else format_number(value)


def change(before: float, after: float, lower_is_better: bool = False, is_fraction: bool = True) -> ScoreChange | None:
    """Change between two scores; None if either is not finite.

    Changes of fractions are in percentage points. Others are coloured by their size relative to the score before.
    """
    difference = after - before
    if not math.isfinite(difference):
        return None
    text = (f"{100 * difference:+.1f}" if is_fraction else f"{difference:+.3g}").replace("-", "−")
    if not text[1:].strip("0."):
        return ScoreChange(f"±{text[1:]}", "same", 0)
    good = (difference < 0) == lower_is_better
    size = abs(difference) if is_fraction else abs(difference) / max(abs(before), abs(after))
    return ScoreChange(text, "good" if good else "bad", round(100 * min(1.0, size / FULL_TINT)))


def format_number(value: float, digits: int = 3) -> str:
    """Format a number with ``digits`` significant digits."""
    return f"{value:.{digits}g}".replace("e-0", "e-").replace("e+0", "e")


def ticks(low: float, high: float, target: int = 4) -> list[float]:
    """Choose round numbers within a range as ticks of an axis.

    Args:
        low: lower end of the range.
        high: upper end of the range, above ``low``.
        target: approximate number of ticks.
    """
    power = 10.0 ** math.floor(math.log10((high - low) / target))
    steps = [power * factor for factor in (1, 2, 2.5, 5, 10)]
    step = min(steps, key=lambda step: abs((high - low) / step - target))
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]
