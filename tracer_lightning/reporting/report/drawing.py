"""Geometry of the report's figures, which its templates draw as SVG.

Points are in pixels of the figure's own coordinates, y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tracer_lightning.reporting.bins import CENTRES, FEW, WIDTH, Bins, merged
from tracer_lightning.reporting.report.numbers import percent, short, ticks
from tracer_lightning.reporting.training_curves import Curve

POINTS = 220
"""Where a curve has more, neighbours are drawn as their mean in a band from least to greatest."""


class Box(NamedTuple):
    """Where data are drawn."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, share: Any) -> Any:
        """Of a share of the width."""
        return self.left + share * (self.right - self.left)

    def y(self, share: Any) -> Any:
        """Of a share of the height."""
        return self.bottom - share * (self.bottom - self.top)


CURVE = Box(46, 8, 352, 142)
DIAGRAM, HISTOGRAM = Box(26, 6, 166, 146), Box(26, 156, 166, 196)


class CurveDrawing(NamedTuple):
    """Lines in a frame."""

    lines: list[dict[str, Any]]
    """``model``, ``line`` and ``band`` (paths) and ``end`` (x, y) of each."""
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    box: Box = CURVE


class ReliabilityDrawing(NamedTuple):
    """A reliability diagram over its confidence histogram."""

    bars: list[dict[str, Any]]
    """Of each bin: ``x``, ``width``; ``gap`` and ``gap_height`` between accuracy and confidence; ``kind``, ``over`` or
    ``under`` confident; ``few``, whether it has few samples; ``share_top`` in the histogram; ``text``."""
    accuracy: float
    """x of the set's accuracy."""
    confidence: float
    """x of the set's mean confidence."""
    diagram: Box = DIAGRAM
    histogram: Box = HISTOGRAM


def _path(x: Any, y: Any) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _thinned(curve: Curve) -> Any:
    """(4, points): steps, means, least and greatest."""
    table = np.array([curve.steps, curve.values], dtype=float)  # (2, points)
    pieces = np.array_split(table, min(POINTS, table.shape[1]), axis=1)
    means = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
    least, greatest = ([found(piece[1]) for piece in pieces] for found in (np.min, np.max))
    return np.stack([*means, least, greatest])


def _range(least: float, greatest: float) -> tuple[float, float]:
    """A little more than the data; something around them where they are all equal."""
    margin = 0.06 * (greatest - least) or abs(greatest) * 0.1 or 0.5
    return max(least - margin, 0.0) if least >= 0 else least - margin, greatest + margin


def draw_curves(curves: Mapping[str, Curve]) -> CurveDrawing:
    """Curves over the same steps.

    Args:
        curves: model or other name to its curve, which has at least one value.
    """
    tables = {name: _thinned(curve) for name, curve in curves.items()}
    low, high = _range(
        min(table[2].min() for table in tables.values()), max(table[3].max() for table in tables.values())
    )
    last = 1 + max(curve.steps[-1] for curve in curves.values())
    lines = []
    for name, (steps, means, least, greatest) in tables.items():
        x, y = CURVE.x(steps / last), CURVE.y((means - low) / (high - low))
        edges = [CURVE.y((edge - low) / (high - low)) for edge in (least, greatest)]
        band = _path([*x, *x[::-1]], [*edges[1], *edges[0][::-1]]) + "Z" if (least < greatest).any() else ""
        lines.append({"model": name, "line": _path(x, y), "band": band, "end": (round(x[-1], 1), round(y[-1], 1))})
    return CurveDrawing(
        lines,
        [(round(CURVE.x(tick / last), 1), f"{tick:,g}") for tick in ticks(0, last)],
        [(round(CURVE.y((tick - low) / (high - low)), 1), short(tick, 6)) for tick in ticks(low, high)],
    )


def draw_reliability(bins: Bins) -> ReliabilityDrawing:
    """One model on one data set.

    Args:
        bins: as in ``details.json``.
    """
    n, accuracy, confidence = merged(bins)
    total = max(1, n.sum())
    bars = []
    for place in np.flatnonzero(n):
        ends = sorted((DIAGRAM.y(accuracy[place]), DIAGRAM.y(confidence[place])))
        bars.append(
            {
                "x": round(DIAGRAM.x(CENTRES[place] - 0.43 * WIDTH), 1),
                "width": round(0.86 * WIDTH * (DIAGRAM.right - DIAGRAM.left), 1),
                "gap": round(ends[0], 1),
                "kind": "over" if confidence[place] > accuracy[place] else "under",
                "few": bool(n[place] < FEW),
                "gap_height": round(ends[1] - ends[0], 1),
                "share_top": round(HISTOGRAM.y(n[place] / total), 1),
                "text": f"confidence {percent(confidence[place])} %, accuracy {percent(accuracy[place])} %, "
                f"{n[place]:.0f} of {total:.0f} samples",
            }
        )
    means = (round(HISTOGRAM.x(values @ n / total), 1) for values in (accuracy, confidence))
    return ReliabilityDrawing(bars, *means)
