"""Curves of the values that a run logged."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import NamedTuple


class Curve(NamedTuple):
    """Finite values logged under one name, in the order of steps."""

    steps: list[int]
    """Number of optimizer steps before each value."""
    values: list[float]
    """Logged values."""
    nonfinite: int = 0
    """Number of values that were infinite or NaN, which are left out."""


def read_curves(path: Path) -> dict[str, Curve]:
    """Read all numeric columns of a run's ``metrics.csv``; empty if there is no such file."""
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
                curves[name] = curve._replace(nonfinite=curve.nonfinite + (not math.isfinite(value)))
    return curves
