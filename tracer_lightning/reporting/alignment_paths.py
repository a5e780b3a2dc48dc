"""The path of embedders through stage 1, from ``alignment.csv`` of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tracer_lightning.reporting.runs import RunGroup
from tracer_lightning.reporting.settings import METHOD, label, varied_keys
from tracer_lightning.reporting.style import SERIES_COLOURS
from tracer_lightning.reporting.training_curves import Curve, read_curves
from tracer_lightning.storage.run_layout import ALIGNMENT_LOG

ALIGNMENT = "align/"
"""Prefix of the names of curves of stage 1."""
COLUMNS = ("source_distance", "distortion", "bound", "log_loss")
SMOOTHED = 5
"""Number of steps, each of a small sample, that are averaged in figures."""


class AlignmentPath(NamedTuple):
    """Mean over seeds of what was measured in stage 1."""

    label: str
    """Settings that vary among the runs."""
    values: Mapping[str, np.ndarray]
    """(steps,) values by column."""


def alignment_curves(path: Path) -> dict[str, Curve]:
    """Curves of stage 1 by name with the prefix ``align/``; none where a run has no such file."""
    return {f"{ALIGNMENT}{name}": curve for name, curve in read_curves(path).items()}


def read_paths(groups: Sequence[RunGroup]) -> list[AlignmentPath]:
    """Paths of the groups of runs whose embedders were aligned, each the mean over seeds.

    Raises:
        ValueError: a log is damaged.
    """
    keys = varied_keys([group.settings for group in groups]) or [METHOD]
    paths = []
    for group in groups:
        logs = [log for run in group.runs if set(COLUMNS) <= set(log := _read_log(run.folder / ALIGNMENT_LOG))]
        if not logs:
            continue
        steps = min(len(log[name].values) for log in logs for name in COLUMNS)
        means = {name: np.mean([log[name].values[:steps] for log in logs], axis=0) for name in COLUMNS}
        paths.append(AlignmentPath(label(group.settings, keys), means))
    return paths


def _read_log(path: Path) -> dict[str, Curve]:
    """Curves of a run's stage 1; ValueError where the file is damaged."""
    try:
        return read_curves(path)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a log of stage 1 ({error!r:.100})") from error


def draw_paths(paths: Sequence[AlignmentPath]) -> Figure:
    """Draw the log-loss of the transported predictor with its bound, and the plane of distance and distortion.

    Args:
        paths: one or more paths.
    """
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    losses, plane = figure.subplots(1, 2)
    for number, path in enumerate(paths):
        colour = SERIES_COLOURS[number % len(SERIES_COLOURS)]
        values = {name: _smoothed(series) for name, series in path.values.items()}
        losses.plot(values["log_loss"], color=colour, label=path.label)
        losses.plot(values["bound"], color=colour, linestyle="--", linewidth=0.9)
        plane.plot(values["source_distance"], values["distortion"], color=colour, linewidth=0.9)
        plane.plot(values["source_distance"][-1], values["distortion"][-1], "o", color=colour, markersize=5)
    losses.set(xlabel="step of stage 1", ylabel="nats", title="log-loss, and its bound (dashed)")
    plane.set(xlabel="distance to the source, W", ylabel="H(Z|Z'), nats", title="path of the embedder, to the dot")
    figure.legend(*losses.get_legend_handles_labels(), loc="outside right center")
    return figure


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean (steps - SMOOTHED + 1,); the values themselves where there are fewer."""
    if len(values) <= SMOOTHED:
        return values
    return np.convolve(values, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
