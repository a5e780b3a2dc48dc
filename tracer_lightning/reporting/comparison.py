"""Means and standard deviations over seeds, beside what was published."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tracer_lightning.reporting.published import ACCURACY, ECE, PER_BATCH, Published, find, paper_data_set
from tracer_lightning.reporting.runs import Group, Run, Scores
from tracer_lightning.reporting.settings import METHOD, TERMS, Settings, Value, label, size_of_terms, varied_keys

AVERAGE = "avg_ood"
ZERO_SHOT, STUDENT, TEACHER = "zero_shot", "student", "teacher"
CHOICES = {
    STUDENT: (ZERO_SHOT, STUDENT),
    TEACHER: (ZERO_SHOT, TEACHER),
    ZERO_SHOT: (ZERO_SHOT,),
    "all": (ZERO_SHOT, STUDENT, TEACHER),
}
"""What may be asked for to the models that are then shown."""
TOLERANCE = 1e-3
"""Zero-shot results that agree to a tenth of a point are one, measured on other devices."""
NO_METRICS = ("split", "role", "n", "sets")


class Place(NamedTuple):
    """Of a result: a data set or average, and a metric."""

    data_set: str
    metric: str


@dataclass(frozen=True)
class Cell:
    """Results of the runs of a group at one place, as fractions.

    Attributes:
        mean: over seeds.
        std: with n - 1 in the denominator; None for one seed.
        published: the counterpart in the paper.
    """

    mean: float
    std: float | None = None
    published: Published | None = None

    @property
    def difference(self) -> float | None:
        """Measured less published, None where nothing is published."""
        return None if self.published is None else self.mean - self.published.value


@dataclass(frozen=True)
class Row:
    """One model of one group; a zero-shot model has no seeds, and stands for all groups that start from it."""

    label: str
    model: str
    settings: Settings
    seeds: Sequence[int]
    cells: Mapping[Place, Cell]
    scores: Scores
    runs: Sequence[Run] = ()


@dataclass(frozen=True)
class Comparison:
    """Rows to compare.

    Attributes:
        names: of the experiments.
        keys: settings that vary.
        rows: zero-shot models first.
        roles: every data set's role, ``id`` or ``ood``, and ``average`` for averages, in the order of the results.
    """

    names: Sequence[str]
    keys: Sequence[str]
    rows: Sequence[Row]
    roles: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """All that any row has."""
        return list(dict.fromkeys(place.metric for row in self.rows for place in row.cells))

    @property
    def headline_sets(self) -> list[str]:
        """The sets of role ``id`` and the mean of those of role ``ood``; all sets where that mean is not known."""
        chosen = [name for name, role in self.roles.items() if role == "id" or name == AVERAGE]
        return chosen if AVERAGE in chosen else list(self.roles)


def _values(scores: Scores) -> dict[Place, float]:
    return {
        Place(data_set, metric): value
        for data_set, values in scores.items()
        for metric, value in values.items()
        if metric not in NO_METRICS and value is not None
    }


def over_seeds(results: Sequence[Mapping[Place, float]]) -> dict[Place, Cell]:
    """Cells of all places that all results have.

    Args:
        results: of each run, at least one.
    """
    cells = {}
    for place in results[0]:
        if all(place in result for result in results):
            values = [result[place] for result in results]
            cells[place] = Cell(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)
    return cells


def _cells(results: Sequence[Scores], settings: Settings, model: str, keys: Sequence[str]) -> dict[Place, Cell]:
    """Cells of all places that all results have, with their published counterparts."""
    swept = keys[0] if len(keys) == 1 else None
    cells = {}
    for place, cell in over_seeds([_values(scores) for scores in results]).items():
        name = paper_data_set(place.data_set, results[0])
        per_batch = place.metric == ECE and PER_BATCH not in results[0][place.data_set]
        asked = PER_BATCH if per_batch else place.metric
        cells[place] = replace(cell, published=find(settings, model, swept, name, asked))
    return cells


def _group_rows(group: Group, models: Sequence[str], keys: Sequence[str]) -> list[Row]:
    rows = []
    for model in models:
        results = [run.scores[model] for run in group.runs if model in run.scores]
        if model == ZERO_SHOT or len(results) < len(group.runs):
            continue
        name = label(group.settings, keys or [METHOD])
        cells = _cells(results, group.settings, model, keys)
        rows.append(Row(name, model, group.settings, group.seeds, cells, results[0], group.runs))
    return rows


def _agree(one: Scores, other: Scores) -> bool:
    """Whether two results are of the same sets, and nearly equal in the metrics that both have."""
    left, right = _values(one), _values(other)
    return one.keys() == other.keys() and all(
        math.isclose(value, right[place], abs_tol=TOLERANCE) for place, value in left.items() if place in right
    )


def _zero_shot_rows(groups: Sequence[Group], keys: Sequence[str]) -> list[Row]:
    """One row for each distinct result, named by the varied settings that go with it where there are several."""
    distinct: list[list[tuple[Settings, Scores]]] = []
    for group in groups:
        for scores in (run.scores[ZERO_SHOT] for run in group.runs if ZERO_SHOT in run.scores):
            alike = (members for members in distinct if _agree(members[0][1], scores))
            members = next(alike, [])
            if not members:
                distinct.append(members)
            members.append((group.settings, scores))
    common = [key for key in keys if all(len({member.get(key) for member, _ in members}) == 1 for members in distinct)]
    telling = varied_keys(
        [{key: value for key, value in members[0][0].items() if key in common} for members in distinct]
    )
    rows = []
    for members in distinct:
        settings, scores = members[0]
        name = f"zero-shot, {label(settings, telling)}" if telling else "zero-shot"
        rows.append(Row(name, ZERO_SHOT, settings, (), _cells([scores], settings, ZERO_SHOT, keys), scores))
    return rows


def _order(keys: Sequence[str], groups: Sequence[Group]) -> list[Group]:
    """By ascending numbers and growing sets of terms; other values in the order in which they were first seen."""
    ranks: dict[str, dict[Value | None, int]] = {}
    for key in keys:
        values = list(dict.fromkeys(group.settings.get(key) for group in groups))
        if all(isinstance(value, int | float) for value in values):
            values.sort(key=lambda value: value if isinstance(value, int | float) else 0)
        elif key == TERMS:
            values.sort(key=size_of_terms)
        ranks[key] = {value: number for number, value in enumerate(values)}
    return sorted(groups, key=lambda group: [ranks[key][group.settings.get(key)] for key in keys])


def compare(groups: Sequence[Group], model: str = STUDENT) -> Comparison:
    """Rows of all groups, with all their data sets and metrics.

    Args:
        groups: of runs that differ by seed alone.
        model: one of ``CHOICES``: which models are shown. All but ``zero_shot`` come with the zero-shot rows.

    Raises:
        ValueError: no run has this model.
    """
    keys = varied_keys([group.settings for group in groups])
    models = CHOICES[model]
    rows = _zero_shot_rows(groups, keys)
    for group in _order(keys, groups):
        rows.extend(_group_rows(group, models, keys))
    if not {row.model for row in rows} & ({ZERO_SHOT} if model == ZERO_SHOT else {STUDENT, TEACHER}):
        raise ValueError(f"--model {model}: none of these runs has one; choose another")
    roles = {name: str(values.get("role", "average")) for row in rows for name, values in row.scores.items()}
    names = dict.fromkeys(run.name for group in groups for run in group.runs)
    return Comparison(list(names), keys, rows, roles)


def places(comparison: Comparison, sets: Sequence[str] | None, metrics: Sequence[str] | None) -> list[Place]:
    """The places to show, by metric and then by data set.

    Args:
        comparison: whose rows have them.
        sets: names of data sets and averages, or just ``all``; None for the headline sets.
        metrics: names of metrics; None for accuracy and ECE, and for the ECE per batch where it was published.

    Raises:
        ValueError: a name is not known.
    """
    chosen = comparison.headline_sets if sets is None else list(comparison.roles) if sets == ["all"] else sets
    cells = {place: cell for row in comparison.rows for place, cell in row.cells.items() if cell.published}
    per_batch = [PER_BATCH] if any(place.metric == PER_BATCH for place in cells) else []
    asked = [ACCURACY, ECE, *per_batch] if metrics is None else metrics
    for option, names, known in (("--sets", chosen, comparison.roles), ("--metrics", asked, comparison.metrics)):
        for name in names:
            if name not in known:
                raise ValueError(f"{option} {name}: none of these runs has it; they have {', '.join(known)}")
    return [Place(data_set, metric) for metric in asked for data_set in chosen]
