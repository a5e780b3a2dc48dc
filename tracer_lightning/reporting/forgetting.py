"""What fine-tuning gained and forgot, and whether numbers known before it go along with that."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from scipy.stats import spearmanr

from tracer_lightning.reporting.comparison import STUDENT, ZERO_SHOT
from tracer_lightning.reporting.published import ACCURACY
from tracer_lightning.reporting.runs import Group
from tracer_lightning.reporting.settings import METHOD, label, varied_keys

NUMBERS = (ACCURACY, "silhouette_by_modality", "silhouette_by_class", "correct_pair_cosine", "iimm")
"""Those of :func:`tracer_lightning.evaluation.difficulty.difficulty` that changes are compared with."""
GAIN, FORGETTING = "gain", "forgetting"
SAME_START = 0.01
"""Difference of zero-shot accuracies up to which they are of one model, measured on other devices."""
FEWEST = 3
"""Points of which a correlation says something."""
DIGITS = 12
"""Decimals that count: changes that are equal but for rounding are ties."""
Measured = Mapping[str, Mapping[str, Any]]
"""Data set to its numbers before fine-tuning."""


class Change(NamedTuple):
    """Of the accuracy of the student of one group of runs on one data set, in the mean over seeds, as a fraction."""

    runs: str
    """The settings that tell the group from others."""
    seeds: int
    data_set: str
    quantity: str
    """``gain`` where the data set was fine-tuned on (role ``id``): after less before; ``forgetting``: before less
    after."""
    before: float
    change: float


class Correlation(NamedTuple):
    """Spearman's; None where it is undefined."""

    rho: float | None
    p: float | None
    """Two-sided, as if points were independent."""
    n: int
    """Points."""
    sets: int
    """Data sets that they are of."""


def changes(groups: Sequence[Group]) -> list[Change]:
    """Of every group of runs that differ by seed alone, on every data set that they have tested before and after."""
    keys = varied_keys([group.settings for group in groups]) or [METHOD]
    return [change for group in groups for change in _of_group(group, label(group.settings, keys))]


def _of_group(group: Group, name: str) -> Iterator[Change]:
    roles = {
        data_set: values["role"]
        for run in group.runs
        for data_set, values in run.scores.get(STUDENT, {}).items()
        if "role" in values  # averages have none
    }
    for data_set, role in roles.items():
        tested = [
            [run.scores.get(model, {}).get(data_set, {}).get(ACCURACY) for model in (ZERO_SHOT, STUDENT)]
            for run in group.runs
        ]
        pairs = [(before, after) for before, after in tested if before is not None and after is not None]
        if pairs:
            before, after = (statistics.fmean(values) for values in zip(*pairs, strict=True))
            quantity, change = (GAIN, after - before) if role == "id" else (FORGETTING, before - after)
            yield Change(name, len(pairs), data_set, quantity, before, round(change, DIGITS))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None]:
    """Spearman's ρ and its two-sided p value by the t distribution; None for fewer than 3 points or constant values."""
    if len(one) < FEWEST or len(set(one)) < 2 or len(set(other)) < 2:
        return None, None
    found = spearmanr(one, other)
    return float(found.statistic), float(found.pvalue)


def points(measured: Measured, found: Sequence[Change], quantity: str, number: str) -> list[tuple[float, Change]]:
    """The number of the data set of each change of this quantity, and the change; undefined numbers are left out."""
    values = {name: numbers[number] for name, numbers in measured.items() if numbers[number] is not None}
    return [(values[one.data_set], one) for one in found if one.quantity == quantity and one.data_set in values]


def correlations(measured: Measured, found: Sequence[Change]) -> dict[str, dict[str, Correlation]]:
    """Of each number with gain and with forgetting.

    Args:
        measured: data sets to their numbers.
        found: changes, matched by the names of data sets.

    Returns:
        ``gain`` and ``forgetting``, each by the name of the number.
    """
    result: dict[str, dict[str, Correlation]] = {}
    for quantity in (GAIN, FORGETTING):
        for number in NUMBERS:
            pairs = points(measured, found, quantity, number)
            rho, p = rank_correlation([value for value, _ in pairs], [one.change for _, one in pairs])
            sets = len({one.data_set for _, one in pairs})
            result.setdefault(quantity, {})[number] = Correlation(rho, p, len(pairs), sets)
    return result


def other_starts(measured: Measured, found: Sequence[Change]) -> list[Change]:
    """Changes that began at another accuracy than the one measured here, so that the numbers are of another model."""
    return [
        one
        for one in found
        if one.data_set in measured and abs(one.before - measured[one.data_set][ACCURACY]) > SAME_START
    ]
