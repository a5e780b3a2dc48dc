"""Gain and forgetting of fine-tuning, and their correlation with measures taken before it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from tracer_lightning.reporting.model_choices import STUDENT, ZERO_SHOT
from tracer_lightning.reporting.published import ACCURACY
from tracer_lightning.reporting.runs import RunGroup
from tracer_lightning.reporting.settings import METHOD, label, varied_keys

NUMBERS = (ACCURACY, "silhouette_by_modality", "silhouette_by_class", "correct_pair_cosine", "iimm")
"""Measures of :func:`tracer_lightning.evaluation.difficulty.difficulty` that changes are correlated with."""
GAIN, FORGETTING = "gain", "forgetting"
SAME_START = 0.01
"""Largest difference of zero-shot accuracies of the same model on different devices."""
MIN_POINTS = 3
"""Smallest number of points for a correlation."""
DIGITS = 12
"""Number of decimals of changes, so that changes which differ only by rounding are ties."""
Measured = Mapping[str, Mapping[str, Any]]
"""Measures before fine-tuning by dataset."""


class AccuracyChange(NamedTuple):
    """Change of the student's accuracy on one dataset, averaged over the seeds of a group of runs, as a fraction."""

    runs: str
    """Settings that distinguish the group from others."""
    seeds: int
    data_set: str
    quantity: str
    """``gain``, after minus before, for datasets of role ``id``; else ``forgetting``, before minus after."""
    before: float
    change: float


class Correlation(NamedTuple):
    """Spearman's rank correlation; None where it is undefined."""

    rho: float | None
    """Correlation coefficient."""
    p: float | None
    """Two-sided p value under the assumption of independent points."""
    n: int
    """Number of points."""
    sets: int
    """Number of datasets of the points."""


def changes(groups: Sequence[RunGroup]) -> list[AccuracyChange]:
    """Accuracy changes of every group of runs on every dataset that was tested before and after."""
    keys = varied_keys([group.settings for group in groups]) or [METHOD]
    return [change for group in groups for change in _group_changes(group, label(group.settings, keys))]


def _group_changes(group: RunGroup, name: str) -> Iterator[AccuracyChange]:
    roles = {
        data_set: values["role"]
        for run in group.runs
        for data_set, values in run.scores.get(STUDENT, {}).items()
        if "role" in values  # averages have none
    }
    for data_set, role in roles.items():
        accuracies = [
            [run.scores.get(model, {}).get(data_set, {}).get(ACCURACY) for model in (ZERO_SHOT, STUDENT)]
            for run in group.runs
        ]
        pairs = [(before, after) for before, after in accuracies if before is not None and after is not None]
        if pairs:
            before, after = (statistics.fmean(values) for values in zip(*pairs, strict=True))
            quantity, change = (GAIN, after - before) if role == "id" else (FORGETTING, before - after)
            yield AccuracyChange(name, len(pairs), data_set, quantity, before, round(change, DIGITS))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float | None, float | None]:
    """Spearman's ρ and its two-sided p value by the t distribution; None for fewer than 3 points or constant values."""
    if len(x) < MIN_POINTS or len(set(x)) < 2 or len(set(y)) < 2:
        return None, None
    result = spearmanr(x, y)
    return float(result.statistic), float(result.pvalue)


def points(
    measured: Measured, changes: Sequence[AccuracyChange], quantity: str, number: str
) -> list[tuple[float, AccuracyChange]]:
    """Pairs of a measure and a change of this quantity on the same dataset; undefined measures are left out."""
    values = {name: numbers[number] for name, numbers in measured.items() if numbers[number] is not None}
    return [
        (values[change.data_set], change)
        for change in changes
        if change.quantity == quantity and change.data_set in values
    ]


def correlations(measured: Measured, changes: Sequence[AccuracyChange]) -> dict[str, dict[str, Correlation]]:
    """Correlate each measure with gain and with forgetting.

    Args:
        measured: measures by dataset.
        changes: changes, matched by the names of datasets.

    Returns:
        Correlations with ``gain`` and ``forgetting``, each by the name of the measure.
    """
    result: dict[str, dict[str, Correlation]] = {}
    for quantity in (GAIN, FORGETTING):
        for number in NUMBERS:
            pairs = points(measured, changes, quantity, number)
            rho, p = rank_correlation([value for value, _ in pairs], [change.change for _, change in pairs])
            sets = len({change.data_set for _, change in pairs})
            result.setdefault(quantity, {})[number] = Correlation(rho, p, len(pairs), sets)
    return result


def other_starts(measured: Measured, changes: Sequence[AccuracyChange]) -> list[AccuracyChange]:
    """Select changes whose zero-shot accuracy differs from the measured one, as if of another model."""
    return [
        change
        for change in changes
        if change.data_set in measured and abs(change.before - measured[change.data_set][ACCURACY]) > SAME_START
    ]
