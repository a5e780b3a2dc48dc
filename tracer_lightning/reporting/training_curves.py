"""Curves of the values that a run logged."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np


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
    if not path.is_file():
        return {}
    steps: dict[str, list[int]] = {}
    values: dict[str, list[float]] = {}
    nonfinite: Counter[str] = Counter()
    with path.open(newline="") as file:
        lines = csv.reader(file)
        names = next(lines, [])
        for line in filter(None, lines):
            row = {name: text for name, text in zip(names, line, strict=False) if text}  # a last line may be cut off
            row.pop("epoch", None)
            step = int(row.pop("step"))
            for name, text in row.items():
                value = float(text)
                values.setdefault(name, [])
                steps.setdefault(name, [])
                if math.isfinite(value):
                    steps[name].append(step)
                    values[name].append(value)
                else:
                    nonfinite[name] += 1
    return {name: Curve(steps[name], values[name], nonfinite[name]) for name in values}


def smoothed(curve: Curve, points: int) -> Curve:
    """The curve with at most this many values, which are means of neighbouring ones at their mean step."""
    count = len(curve.steps)
    if count <= points:
        return curve
    begins = np.arange(points) * count // points
    sizes = np.diff(begins, append=count)
    steps, values = (
        np.add.reduceat(np.array(numbers, dtype=float), begins) / sizes for numbers in (curve.steps, curve.values)
    )
    return curve._replace(steps=np.rint(steps).astype(int).tolist(), values=values.tolist())
