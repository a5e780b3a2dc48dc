"""The toy experiment: what each method keeps of the original task, and how far its teacher stays away."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

from scipy.stats import t as student_t

from tracer_lightning.reporting.merged import by_role
from tracer_lightning.reporting.runs import MODELS, Group, Run
from tracer_lightning.reporting.settings import METHOD, STRENGTH, shown, varied_keys
from tracer_lightning.reporting.training_curves import Curve, read_curves
from tracer_lightning.storage.run_layout import METRICS

GAP = "train/loss/fd"
"""Squared distance of the features of teacher and student, as it is logged: mean over the batch."""
LATE = 0.1
"""The last share of a run's steps, over which the late gap is taken."""
CONFIDENCE = 0.95
STRENGTHS = (STRENGTH, "regularizers.*.weight", "distill_losses.*.weight")
"""Settings that say how strong a method is; they tell points of a line apart, other settings lines."""
ORIGINAL, TASK, FORGETTING, TEACHER, LATE_GAP = "original", "task", "forgetting", "teacher", "late gap"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and how far its confidence interval reaches on either side; None for one seed."""

    mean: float
    half: float | None


@dataclass(frozen=True)
class Arm:
    """One method at one strength.

    Attributes:
        name: what tells it from other methods.
        strength: how it is set, such as ``0.5``; empty where it does not vary.
        seeds: how many runs.
        values: accuracy on the sets of role ood (``original``) and id (``task``), what of the original accuracy was
            lost (``forgetting``), the teacher's original accuracy, all fractions, and the late gap.
        gap: step to gap, mean over seeds.
    """

    name: str
    strength: str
    seeds: int
    values: Mapping[str, Interval]
    gap: Mapping[int, float]


def interval(values: Sequence[float]) -> Interval:
    """Mean and half width of Student's t interval at 95%."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Interval(mean, None)
    quantile = float(student_t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    return Interval(mean, quantile * statistics.stdev(values) / len(values) ** 0.5)


def _accuracy(run: Run, model: str, role: str) -> float:
    found = by_role(run.scores[model], "accuracy")
    if role not in found:
        raise ValueError(f"{run.folder}: no scores of {model} on sets of role {role}; these are of ID and OOD sets")
    return found[role]


def late(curve: Curve) -> float:
    """Mean over the last tenth of the steps, at least the last value."""
    begin = (1 - LATE) * curve.steps[-1]
    return statistics.fmean(value for step, value in zip(*curve[:2], strict=True) if step > begin)


def _measures(run: Run, curve: Curve | None) -> dict[str, float]:
    missing = [model for model in MODELS[:2] if model not in run.scores]
    if missing:
        raise ValueError(f"{run.folder}: no scores of {', '.join(missing)}")
    before, after = (_accuracy(run, model, "ood") for model in MODELS[:2])
    found = {ORIGINAL: after, TASK: _accuracy(run, "student", "id"), FORGETTING: before - after}
    if "teacher" in run.scores:
        found[TEACHER] = _accuracy(run, "teacher", "ood")
    if curve is not None and curve.steps:
        found[LATE_GAP] = late(curve)
    return found


def _arm(group: Group, name: str, strength: Sequence[str]) -> Arm:
    curves = [read_curves(run.folder / METRICS).get(GAP) for run in group.runs]
    found = [_measures(run, curve) for run, curve in zip(group.runs, curves, strict=True)]
    logged = [dict(zip(curve.steps, curve.values, strict=True)) for curve in curves if curve is not None]
    steps = sorted(set.intersection(*map(set, logged))) if logged else []
    return Arm(
        name=name,
        strength=", ".join(shown(key, group.settings[key]) for key in strength),
        seeds=len(group.runs),
        values={key: interval([one[key] for one in found]) for key in found[0] if all(key in one for one in found)},
        gap={step: statistics.fmean(one[step] for one in logged) for step in steps},
    )


def _name(group: Group, keys: Sequence[str]) -> str:
    """Such as ``sd_ema, momentum=0.99999``."""
    method = str(group.settings.get(METHOD, "runs"))
    others = [key for key in keys if key != METHOD and key in group.settings]
    return ", ".join((method, *(f"{key.rpartition('.')[2]}={shown(key, group.settings[key])}" for key in others)))


def arms(groups: Sequence[Group]) -> list[Arm]:
    """All groups, named by what varies among them; those of one name are of different strength."""
    keys = varied_keys([group.settings for group in groups])
    strong = [key for key in keys if any(fnmatch(key, pattern) for pattern in STRENGTHS)]
    names = [_name(group, [key for key in keys if key not in strong]) for group in groups]
    varied = {
        name: [key for key in strong if len({group.settings.get(key) for group, its in both if its == name}) > 1]
        for both in [list(zip(groups, names, strict=True))]
        for name in names
    }
    return [_arm(group, name, varied[name]) for group, name in zip(groups, names, strict=True)]


def before(groups: Sequence[Group]) -> dict[str, float]:
    """Accuracy before fine-tuning on the ``original`` and on the new ``task``, mean over all runs."""
    runs = [run for group in groups for run in group.runs]
    roles = {ORIGINAL: "ood", TASK: "id"}
    return {key: statistics.fmean(_accuracy(run, MODELS[0], role) for run in runs) for key, role in roles.items()}
