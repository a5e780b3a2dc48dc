"""The toy experiment: accuracy that each method retains on the original task, and its gap to the teacher."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from scipy.stats import t as student_t

from tracer_lightning.reporting.merged import by_role
from tracer_lightning.reporting.runs import MODELS, Run, RunGroup
from tracer_lightning.reporting.settings import METHOD, STRENGTH, format_value, varied_keys
from tracer_lightning.reporting.training_curves import Curve, read_curves
from tracer_lightning.storage.run_layout import METRICS

GAP = "train/loss/fd"
"""Logged squared distance between the features of teacher and student, averaged over the batch."""
LATE = 0.1
"""Final share of a run's steps over which the late gap is averaged."""
CONFIDENCE = 0.95
STRENGTHS = (STRENGTH, "regularizers.*.weight", "distill_losses.*.weight")
"""Settings of a method's strength; they distinguish the points of a line, other settings the lines."""
ORIGINAL, TASK, FORGETTING, TEACHER, LATE_GAP = "original", "task", "forgetting", "teacher", "late gap"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the half width of its confidence interval, which is None for one seed."""

    mean: float
    half: float | None


@dataclass(frozen=True)
class Arm:
    """One method at one strength.

    Attributes:
        name: Name that distinguishes it from other methods.
        strength: Value of its strength, such as ``0.5``; empty if it does not vary.
        seeds: Number of runs.
        values: Accuracy on the sets of role ood (``original``) and id (``task``), the loss of original accuracy
            (``forgetting``) and the teacher's original accuracy, all as fractions, and the late gap.
        gap: Mean gap over seeds by step.
    """

    name: str
    strength: str
    seeds: int
    values: Mapping[str, Interval]
    gap: Mapping[int, float]


def interval(values: Sequence[float]) -> Interval:
    """Compute the mean and the half width of Student's t interval at 95%."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Interval(mean, None)
    quantile = float(student_t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    return Interval(mean, quantile * statistics.stdev(values) / len(values) ** 0.5)


def _accuracy(run: Run, model: str, role: str) -> float:
    accuracies = by_role(run.scores[model], "accuracy")
    if role not in accuracies:
        raise ValueError(f"{run.folder}: no scores of {model} on sets of role {role}; evaluate on ID and OOD sets")
    return accuracies[role]


def late_mean(curve: Curve) -> float:
    """Mean over the last tenth of the steps, which includes at least the last value."""
    begin = (1 - LATE) * curve.steps[-1]
    return statistics.fmean(value for step, value in zip(*curve[:2], strict=True) if step > begin)


def _measures(run: Run, curve: Curve | None) -> dict[str, float]:
    missing = [model for model in MODELS[:2] if model not in run.scores]
    if missing:
        raise ValueError(f"{run.folder}: no scores of {', '.join(missing)}")
    before, after = (_accuracy(run, model, "ood") for model in MODELS[:2])
    values = {ORIGINAL: after, TASK: _accuracy(run, "student", "id"), FORGETTING: before - after}
    if "teacher" in run.scores:
        values[TEACHER] = _accuracy(run, "teacher", "ood")
    if curve is not None and curve.steps:
        values[LATE_GAP] = late_mean(curve)
    return values


def _arm(group: RunGroup, name: str, strength: Sequence[str]) -> Arm:
    curves = [read_curves(run.folder / METRICS).get(GAP) for run in group.runs]
    measures = [_measures(run, curve) for run, curve in zip(group.runs, curves, strict=True)]
    logged = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves if curve is not None]
    steps = sorted(set.intersection(*map(set, logged))) if logged else []
    return Arm(
        name=name,
        strength=", ".join(format_value(key, group.settings[key]) for key in strength),
        seeds=len(group.runs),
        values={
            key: interval([values[key] for values in measures])
            for key in measures[0]
            if all(key in values for values in measures)
        },
        gap={step: statistics.fmean(gaps[step] for gaps in logged) for step in steps},
    )


def _name(group: RunGroup, keys: Sequence[str]) -> str:
    """Name of an arm, such as ``sd_ema, momentum=0.99999``."""
    method = str(group.settings.get(METHOD, "runs"))
    others = [key for key in keys if key != METHOD and key in group.settings]
    return ", ".join(
        (method, *(f"{key.rpartition('.')[2]}={format_value(key, group.settings[key])}" for key in others))
    )


def arms(groups: Sequence[RunGroup]) -> list[Arm]:
    """Convert groups of runs to arms, named by the settings that vary; arms of the same name differ in strength."""
    keys = varied_keys([group.settings for group in groups])
    strength_keys = [key for key in keys if any(fnmatch(key, pattern) for pattern in STRENGTHS)]
    names = [_name(group, [key for key in keys if key not in strength_keys]) for group in groups]
    varied = {
        name: [
            key
            for key in strength_keys
            if len({group.settings.get(key) for group, own in zip(groups, names, strict=True) if own == name}) > 1
        ]
        for name in names
    }
    return [_arm(group, name, varied[name]) for group, name in zip(groups, names, strict=True)]


def accuracy_before(groups: Sequence[RunGroup]) -> dict[str, float]:
    """Accuracy before fine-tuning on the ``original`` and on the new ``task``, averaged over all runs."""
    runs = [run for group in groups for run in group.runs]
    roles = {ORIGINAL: "ood", TASK: "id"}
    return {key: statistics.fmean(_accuracy(run, MODELS[0], role) for run in runs) for key, role in roles.items()}
