"""Curves of what a run logged."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """What was logged under one name, in order of steps, without what is no finite number."""

    steps: list[int]
    """Optimizer steps taken before the value."""
    values: list[float]
    lost: int = 0
    """How many values were infinite or no number."""


def read_curves(path: Path) -> dict[str, Curve]:
    """All columns of numbers of a run's ``metrics.csv``; nothing where there is no such file."""
    curves: dict[str, Curve] = {}
    if not path.is_file():
        return curves
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name in [name for name, text in row.items() if text and name not in ("step", "epoch")]:
                curve, value = curves.get(name, Curve([], [])), float(row[name])
                if math.isfinite(value):
                    curve.steps.append(int(row["step"]))
                    curve.values.append(value)
                curves[name] = curve._replace(lost=curve.lost + (not math.isfinite(value)))
    return curves
