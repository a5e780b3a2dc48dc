"""Geometry of the report's figures, which its templates draw as SVG.

The templates draw the figures, of which a page has dozens, rather than matplotlib, whose SVG is ten times as large and
takes 0.1 to 0.2 s per figure. They follow the page's colours, dark mode and font sizes, and have tooltips.

Coordinates are in pixels of the figure, with y downwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracer_lightning.reporting.bins import CENTRES, FEW, WIDTH, Bins, bin_statistics
from tracer_lightning.reporting.report.numbers import format_number, percent, ticks
from tracer_lightning.reporting.training_curves import Curve

POINTS = 220
"""Largest number of points of a curve; more are drawn as means of neighbours, with a band of their range."""


class PlotArea(NamedTuple):
    """Rectangle in which data are drawn."""

    left: float
    top: float
    right: float
    bottom: float

    def x(self, share: Any) -> Any:
        """Coordinate at a share of the width."""
        return self.left + share * (self.right - self.left)

    def y(self, share: Any) -> Any:
        """Coordinate at a share of the height, from the bottom."""
        return self.bottom - share * (self.bottom - self.top)


CURVE = PlotArea(46, 8, 352, 142)
TRADE_OFF = PlotArea(54, 10, 352, 202)
DIAGRAM, HISTOGRAM = PlotArea(26, 6, 166, 146), PlotArea(26, 156, 166, 196)


class CurveDrawing(NamedTuple):
    """Lines with their axes."""

    lines: list[dict[str, Any]]
    """Dicts of ``model``, the paths ``line`` and ``band``, and the last point ``end`` (x, y)."""
    x_ticks: list[tuple[float, str]]
    """Coordinates and labels of the ticks of the x axis."""
    y_ticks: list[tuple[float, str]]
    """Coordinates and labels of the ticks of the y axis."""
    area: PlotArea = CURVE


class ReliabilityDrawing(NamedTuple):
    """A reliability diagram above its confidence histogram."""

    bars: list[dict[str, Any]]
    """Dicts of each bin's ``x`` and ``width``, ``gap`` and ``gap_height`` between accuracy and confidence, ``kind``
    (``over`` or ``under`` confident), ``few`` (whether it has few samples), ``share_top`` in the histogram, and the
    tooltip's ``text``."""
    accuracy: float
    """x coordinate of the set's accuracy."""
    confidence: float
    """x coordinate of the set's mean confidence."""
    diagram: PlotArea = DIAGRAM
    histogram: PlotArea = HISTOGRAM


class RankDrawing(NamedTuple):
    """Histograms of ranks side by side."""

    bars: list[dict[str, Any]]
    """Dicts of each bar's ``model``, ``x``, ``width``, ``top`` and tooltip's ``text``."""
    x_ticks: list[tuple[float, str]]
    """Coordinates and labels of the bins."""
    y_ticks: list[tuple[float, str]]
    """Coordinates and labels of the ticks of the y axis."""
    area: PlotArea = CURVE


class TradeOffDrawing(NamedTuple):
    """Points of models, with lines at no change."""

    points: list[dict[str, Any]]
    """Dicts of each point's ``model``, ``x``, ``y``, and of its label's ``label_x``, ``label_y`` and ``anchor``."""
    origin: tuple[float, float]
    """Coordinates of no change."""
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    """Coordinates and labels of the ticks of the x axis."""
    y_ticks: list[tuple[float, str]]
    """Coordinates and labels of the ticks of the y axis."""
    area: PlotArea = TRADE_OFF


def _path(x: Any, y: Any) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _downsampled(curve: Curve) -> Any:
    """Steps, means, minima and maxima of neighbouring values, (4, points)."""
    table = np.array([curve.steps, curve.values], dtype=float)  # (2, points)
    pieces = np.array_split(table, min(POINTS, table.shape[1]), axis=1)
    means = np.stack([piece.mean(axis=1) for piece in pieces], axis=1)
    minima, maxima = ([reduce(piece[1]) for piece in pieces] for reduce in (np.min, np.max))
    return np.stack([*means, minima, maxima])


def axis_range(low: float, high: float) -> tuple[float, float]:
    """Range of the data with a margin, which is positive even if all data are equal."""
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 0.5
    return max(low - margin, 0.0) if low >= 0 else low - margin, high + margin


def draw_curves(curves: Mapping[str, Curve]) -> CurveDrawing:
    """Draw curves over common axes.

    Args:
        curves: curves by model or other name, with at least one value each.
    """
    tables = {name: _downsampled(curve) for name, curve in curves.items()}
    low, high = axis_range(
        min(table[2].min() for table in tables.values()), max(table[3].max() for table in tables.values())
    )
    last = 1 + max(curve.steps[-1] for curve in curves.values())
    lines = []
    for name, (steps, means, minima, maxima) in tables.items():
        x, y = CURVE.x(steps / last), CURVE.y((means - low) / (high - low))
        edges = [CURVE.y((edge - low) / (high - low)) for edge in (minima, maxima)]
        band = _path([*x, *x[::-1]], [*edges[1], *edges[0][::-1]]) + "Z" if (minima < maxima).any() else ""
        lines.append({"model": name, "line": _path(x, y), "band": band, "end": (round(x[-1], 1), round(y[-1], 1))})
    return CurveDrawing(
        lines,
        [(round(CURVE.x(tick / last), 1), f"{tick:,g}") for tick in ticks(0, last)],
        [(round(CURVE.y((tick - low) / (high - low)), 1), format_number(tick, 6)) for tick in ticks(low, high)],
    )


def draw_ranks(histograms: Mapping[str, Mapping[str, Any]]) -> RankDrawing:
    """Draw the histograms of the ranks of matches.

    Args:
        histograms: ``upper`` ranks and counts ``n`` of the bins by model; the bins of all models are the same.
    """
    upper = next(iter(histograms.values()))["upper"]
    shares = {model: np.array(values["n"]) / max(1, sum(values["n"])) for model, values in histograms.items()}
    highest = max(values.max() for values in shares.values()) or 1.0
    lower = [1, *(edge + 1 for edge in upper[:-1])]
    labels = [
        f"{first:,}" if first == last else f"{first:,}–{last:,}" for first, last in zip(lower, upper, strict=True)
    ]
    width = (CURVE.right - CURVE.left) / len(upper)
    bars = [
        {
            "model": model,
            "x": round(CURVE.left + width * (index + 0.1 + 0.8 * number / len(shares)), 1),
            "width": round(0.8 * width / len(shares), 1),
            "top": round(CURVE.y(share / highest), 1),
            "text": f"rank {labels[index]}: {percent(share)} %",
        }
        for number, (model, values) in enumerate(shares.items())
        for index, share in enumerate(values)
    ]
    return RankDrawing(
        bars,
        [
            (round(CURVE.left + width * (index + 0.5), 1), f"≤ {edge:,}" if edge > 1 else "1")
            for index, edge in enumerate(upper)
        ],
        [(round(CURVE.y(tick / highest), 1), f"{100 * tick:g} %") for tick in ticks(0, highest)],
    )


def draw_reliability(bins: Bins) -> ReliabilityDrawing:
    """Draw the reliability diagram of one model on one dataset.

    Args:
        bins: counts as in ``details.json``.
    """
    n, accuracy, confidence = bin_statistics(bins)
    total = max(1, n.sum())
    bars = []
    for index in np.flatnonzero(n):
        ends = sorted((DIAGRAM.y(accuracy[index]), DIAGRAM.y(confidence[index])))
        bars.append(
            {
                "x": round(DIAGRAM.x(CENTRES[index] - 0.43 * WIDTH), 1),
                "width": round(0.86 * WIDTH * (DIAGRAM.right - DIAGRAM.left), 1),
                "gap": round(ends[0], 1),
                "kind": "over" if confidence[index] > accuracy[index] else "under",
                "few": bool(n[index] < FEW),
                "gap_height": round(ends[1] - ends[0], 1),
                "share_top": round(HISTOGRAM.y(n[index] / total), 1),
                "text": f"confidence {percent(confidence[index])} %, accuracy {percent(accuracy[index])} %, "
                f"{n[index]:.0f} of {total:.0f} samples",
            }
        )
    means = (round(HISTOGRAM.x(values @ n / total), 1) for values in (accuracy, confidence))
    return ReliabilityDrawing(bars, *means)


def draw_trade_off(points: Mapping[str, tuple[float, float]], x_title: str, y_title: str) -> TradeOffDrawing:
    """Draw models by two changes against the model before training.

    Args:
        points: both changes by model, positive where it improved; (0, 0) of the model before training.
        x_title: title of the first change.
        y_title: title of the second one.
    """
    (left, right), (low, high) = (_extent(values) for values in zip(*points.values(), strict=True))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            round(TRADE_OFF.x((x - left) / (right - left)), 1),
            round(TRADE_OFF.y((y - low) / (high - low)), 1),
        )

    places = {model: place(*point) for model, point in points.items()}
    highest, *_, lowest = sorted(places, key=lambda model: places[model][1])
    drawn = []
    for model, (x, y) in places.items():
        if model in (highest, lowest):
            label = {"label_x": x, "label_y": y - 10 if model == highest else y + 18, "anchor": "middle"}
        else:
            on_left = x > TRADE_OFF.x(0.5)
            label = {"label_x": x - 9 if on_left else x + 9, "label_y": y + 4, "anchor": "end" if on_left else "start"}
        drawn.append({"model": model, "x": x, "y": y, **label})
    return TradeOffDrawing(
        drawn,
        place(0, 0),
        x_title,
        y_title,
        [(place(tick, 0)[0], _signed(tick)) for tick in ticks(left, right)],
        [(place(0, tick)[1], _signed(tick)) for tick in ticks(low, high)],
    )


def _extent(values: Sequence[float]) -> tuple[float, float]:
    """Range of the values with a margin for labels."""
    margin = 0.15 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"
