"""Means and standard deviations over seeds, compared with the published values."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tracer_lightning.reporting.model_choices import CHOICES, STUDENT, TEACHER, ZERO_SHOT
from tracer_lightning.reporting.published import ACCURACY, ECE, PER_BATCH, find, paper_data_set
from tracer_lightning.reporting.published_forgetting import find_task_accuracy
from tracer_lightning.reporting.published_value import PublishedValue
from tracer_lightning.reporting.runs import Run, RunGroup, Scores
from tracer_lightning.reporting.settings import METHOD, TERMS, Settings, Value, label, size_of_terms, varied_keys
from tracer_lightning.scores import AVERAGE, AVERAGE_OTHER, CLASSIFICATION, RECALL, Metric, headline_of

TOLERANCE = 1e-3
"""Largest difference, as a fraction, of zero-shot results that count as the same result on different devices."""
UNTRAINED = ("backbone.", "data.", "init_weights", "evaluation.")
"""Beginnings of settings that results before training depend on."""
NO_METRICS = ("split", "role", "n", "sets")


class ResultKey(NamedTuple):
    """Dataset or average, and metric, of a result."""

    data_set: str
    metric: str


@dataclass(frozen=True)
class Measurement:
    """Statistics over the seeds of a group of runs for one metric of one dataset, as fractions.

    Attributes:
        mean: Mean over seeds.
        std: Standard deviation with n - 1 in the denominator; None for one seed.
        published: Corresponding published value, if there is one.
    """

    mean: float
    std: float | None = None
    published: PublishedValue | None = None

    @property
    def difference(self) -> float | None:
        """Measured minus published value; None without a published value."""
        return None if self.published is None else self.mean - self.published.value


@dataclass(frozen=True)
class ComparisonRow:
    """Results of one model of one group; a zero-shot row has no seeds and stands for all groups that start from it."""

    label: str
    model: str
    settings: Settings
    seeds: Sequence[int]
    cells: Mapping[ResultKey, Measurement]
    scores: Scores
    runs: Sequence[Run] = ()

    @property
    def tags(self) -> list[str]:
        """Tags of its runs, each once."""
        return list(dict.fromkeys(tag for run in self.runs for tag in run.tags))


@dataclass(frozen=True)
class Comparison:
    """Rows to compare.

    Attributes:
        names: Names of the experiments.
        keys: Keys of the settings that vary.
        rows: Rows of the comparison, zero-shot models first.
        roles: Role of every dataset, ``id``, ``ood`` or ``other``, and ``average`` for averages, in the order of the
            results.
        declared: Declarations of the metrics by name, the primary one first.
    """

    names: Sequence[str]
    keys: Sequence[str]
    rows: Sequence[ComparisonRow]
    roles: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, Metric] = field(default_factory=lambda: {metric.name: metric for metric in CLASSIFICATION})

    def metric(self, name: str) -> Metric:
        """Declaration of a metric; one that no suite declares is taken for a fraction."""
        return self.declared.get(name, Metric(name, name, name))

    @property
    def headline_metrics(self) -> list[str]:
        """The first metrics of each set that are shown by default: accuracy and ECE, or recall@1 of each direction."""
        shown = [metric.name for metric in self.declared.values() if metric.shown]
        by_set = [[name for name in shown if self.has(data_set, name)] for data_set in self.roles]
        headlines = {name for names in by_set for name in names[: 3 if RECALL in names else 2]}
        return [name for name in shown if name in headlines]

    @property
    def gained(self) -> list[Metric]:
        """Metrics of which gains are the changes: the headline of each data set."""
        headlines = (
            headline_of(values, self.declared.values())
            for row in self.rows
            for values in row.scores.values()
            if "role" in values
        )
        return list(dict.fromkeys(metric for metric in headlines if metric is not None))

    def has(self, data_set: str, metric: str) -> bool:
        """Whether a data set or an average has a metric, if perhaps without a value."""
        return any(metric in row.scores.get(data_set, {}) for row in self.rows)

    @property
    def metrics(self) -> list[str]:
        """All metrics that any row has."""
        return list(dict.fromkeys(key.metric for row in self.rows for key in row.cells))

    @property
    def headline_sets(self) -> list[str]:
        """Sets of role ``id`` and the means over those of the roles ``ood`` and ``other``; all sets without means."""
        means = {AVERAGE, AVERAGE_OTHER} & self.roles.keys()
        return [name for name, role in self.roles.items() if role == "id" or name in means or not means]


def _values(scores: Scores) -> dict[ResultKey, float]:
    return {
        ResultKey(data_set, metric): value
        for data_set, values in scores.items()
        for metric, value in values.items()
        if metric not in NO_METRICS and value is not None
    }


def over_seeds(results: Sequence[Mapping[ResultKey, float]]) -> dict[ResultKey, Measurement]:
    """Statistics of all values that all results have.

    Args:
        results: results of each run, at least one.
    """
    measurements = {}
    for key in results[0]:
        if all(key in result for result in results):
            values = [result[key] for result in results]
            std = statistics.stdev(values) if len(values) > 1 else None
            measurements[key] = Measurement(statistics.fmean(values), std)
    return measurements


def _measurements(
    results: Sequence[Scores], settings: Settings, model: str, keys: Sequence[str]
) -> dict[ResultKey, Measurement]:
    """Statistics of all values that all results have, with the corresponding published values."""
    swept = keys[0] if len(keys) == 1 else None
    measurements = {}
    for key, measurement in over_seeds([_values(scores) for scores in results]).items():
        name = paper_data_set(key.data_set, results[0])
        per_batch = key.metric == ECE and PER_BATCH not in results[0][key.data_set]
        metric = PER_BATCH if per_batch else key.metric
        value = find(settings, model, swept, name, metric)
        if value is None and (model, metric) == (STUDENT, ACCURACY):
            value = find_task_accuracy(settings, key.data_set)
        measurements[key] = replace(measurement, published=value)
    return measurements


def _group_rows(group: RunGroup, models: Sequence[str], keys: Sequence[str]) -> list[ComparisonRow]:
    rows = []
    for model in models:
        results = [run.scores[model] for run in group.runs if model in run.scores]
        if model == ZERO_SHOT or len(results) < len(group.runs):
            continue
        name = label(group.settings, keys or [METHOD])
        cells = _measurements(results, group.settings, model, keys)
        rows.append(ComparisonRow(name, model, group.settings, group.seeds, cells, results[0], group.runs))
    return rows


def _agree(first: Scores, second: Scores) -> bool:
    """Whether two results have the same sets and nearly equal values of the metrics that both have."""
    left, right = _values(first), _values(second)
    return first.keys() == second.keys() and all(
        math.isclose(value, right[key], abs_tol=TOLERANCE) for key, value in left.items() if key in right
    )


def _zero_shot_rows(groups: Sequence[RunGroup], keys: Sequence[str]) -> list[ComparisonRow]:
    """One row for each distinct result, labelled with the settings that distinguish it if there are several."""
    distinct: list[list[tuple[Settings, Scores]]] = []
    for group in groups:
        for scores in (run.scores[ZERO_SHOT] for run in group.runs if ZERO_SHOT in run.scores):
            equal = (members for members in distinct if _agree(members[0][1], scores))
            members = next(equal, [])
            if not members:
                distinct.append(members)
            members.append((group.settings, scores))
    naming = _naming_keys([[settings for settings, _ in members] for members in distinct], keys)
    rows = []
    untrained = groups[0].runs[0].untrained
    for members in distinct:
        settings, scores = members[0]
        name = f"{untrained}, {label(settings, naming)}" if naming else untrained
        cells = _measurements([scores], settings, ZERO_SHOT, keys)
        rows.append(ComparisonRow(name, ZERO_SHOT, settings, (), cells, scores))
    return rows


def _naming_keys(groups: Sequence[Sequence[Settings]], keys: Sequence[str]) -> list[str]:
    """Settings that distinguish groups of runs, and that all runs of a group share.

    Args:
        groups: settings of the runs of each group.
        keys: settings to choose from; where they don't suffice, those that results before training depend on.
    """
    inputs = dict.fromkeys(key for group in groups for run in group for key in run if key.startswith(UNTRAINED))
    naming: list[str] = []
    for candidates in (keys, inputs):
        shared = [key for key in candidates if all(len({run.get(key) for run in group}) == 1 for group in groups)]
        chosen = [{key: group[0][key] for key in shared if key in group[0]} for group in groups]
        naming = varied_keys(chosen)
        if len({frozenset(settings.items()) for settings in chosen}) == len(groups):
            break
    return naming


def _order(keys: Sequence[str], groups: Sequence[RunGroup]) -> list[RunGroup]:
    """Sort groups by numbers and by the size of sets of terms; other values keep the order of first occurrence."""
    ranks: dict[str, dict[Value | None, int]] = {}
    for key in keys:
        values = list(dict.fromkeys(group.settings.get(key) for group in groups))
        if all(isinstance(value, int | float) for value in values):
            values.sort(key=lambda value: value if isinstance(value, int | float) else 0)
        elif key == TERMS:
            values.sort(key=size_of_terms)
        ranks[key] = {value: number for number, value in enumerate(values)}
    return sorted(groups, key=lambda group: [ranks[key][group.settings.get(key)] for key in keys])


def compare(groups: Sequence[RunGroup], model: str = STUDENT) -> Comparison:
    """Compare groups of runs on all their datasets and metrics.

    Args:
        groups: groups of runs that differ only in their seed.
        model: one of ``CHOICES``, the models to show; every choice includes the zero-shot rows.

    Raises:
        ValueError: no run has this model.
    """
    keys = varied_keys([group.settings for group in groups])
    models = CHOICES[model]
    rows = _zero_shot_rows(groups, keys)
    for group in _order(keys, groups):
        rows.extend(_group_rows(group, models, keys))
    if not {row.model for row in rows} & ({ZERO_SHOT} if model == ZERO_SHOT else {STUDENT, TEACHER}):
        raise ValueError(f"model {model}: none of these runs has one; choose another")
    roles = {name: str(values.get("role", "average")) for row in rows for name, values in row.scores.items()}
    names = dict.fromkeys(run.name for group in groups for run in group.runs)
    declared = {metric.name: metric for group in groups for metric in group.runs[0].metrics}
    return Comparison(list(names), keys, rows, roles, declared)


def select_results(
    comparison: Comparison, sets: Sequence[str] | None, metrics: Sequence[str] | None
) -> list[ResultKey]:
    """Select the results to show, sorted by metric and then by dataset.

    Args:
        comparison: the comparison to select from.
        sets: names of datasets and averages, or just ``all``; None for the headline sets.
        metrics: names of metrics; None for the headline metrics, and for the ECE per batch if it was published.

    Raises:
        ValueError: a name is not known.
    """
    set_names = comparison.headline_sets if sets is None else list(comparison.roles) if sets == ["all"] else sets
    published = {key for row in comparison.rows for key, cell in row.cells.items() if cell.published}
    per_batch = [PER_BATCH] if any(key.metric == PER_BATCH for key in published) else []
    metric_names = [*comparison.headline_metrics, *per_batch] if metrics is None else metrics
    for argument, names, known in (
        ("sets", set_names, comparison.roles),
        ("metrics", metric_names, comparison.metrics),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"{argument} {name}: none of these runs has it; they have {', '.join(known)}")
    keys = [ResultKey(data_set, metric) for metric in metric_names for data_set in set_names]
    keys = [key for key in keys if comparison.has(*key)]
    if not keys:
        raise ValueError(f"metrics {' '.join(metric_names)}: none of the sets {' '.join(set_names)} has any of them")
    return keys
