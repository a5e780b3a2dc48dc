"""Trade-offs of methods between scores in distribution and elsewhere: series of settings and their Pareto fronts.

The score of a data set is its accuracy or, of images with captions, its recall@1. Sets are compared by role and, of
models that answer questions, by cell of the grid of images and texts.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tracer_lightning.reporting.comparison import TOLERANCE
from tracer_lightning.reporting.merges import Interpolation
from tracer_lightning.reporting.model_choices import CHOICES, TEACHER, ZERO_SHOT
from tracer_lightning.reporting.published import ACCURACY, ECE
from tracer_lightning.reporting.runs import Run, RunGroup, Scores
from tracer_lightning.reporting.settings import METHOD, PEFT, STRENGTH, Settings, format_value, label, varied_keys
from tracer_lightning.scores import AVERAGE, IMAGE_TITLES, RECALL, ROLE_TITLES, TEXT_TITLES, cell_name, cell_of

DOSE = ("optimizer.lr", STRENGTH, "regularizers.l2_sp.weight")
"""Settings that move a method along its trade-off, and do not make another method of it."""
ALPHA = "alpha"
"""Dose of an interpolated model beside those of its run."""
ID, OOD, OTHER = "id", "ood", "other"
ROLES = (ID, OOD, OTHER)
GENERAL = "general"
"""Text of the cell of general questions, and group of sets that measure what a model could do before training."""
AVERAGES = {OOD: AVERAGE, OTHER: "avg_other"}
"""Names of the averages by role of the sets that they are over."""
SCORES = {ACCURACY: "accuracy", RECALL: "recall@1"}
"""Titles of the metrics that are compared: of each data set, the first that it has."""
LEVEL_TOLERANCE = 0.005
"""Difference from a level of ID accuracy, as a fraction, within which a setting counts as having reached it."""
ROUNDING = 1e-9
"""Largest difference of fractions that counts as rounding."""
Array = npt.NDArray[np.float64]
Sets = Mapping[str, tuple[tuple[str, int], ...]]
"""Name and number of samples of each scored set, by group: a role, a cell of the grid or ``general``."""


class Trial(NamedTuple):
    """One model that was evaluated: one seed of one setting of a series."""

    source: str
    """Folder of its scores, for messages."""
    seed: int
    scores: Scores
    validation: Mapping[str, float]
    """Metrics in the run's last validation; empty if there are none."""


@dataclass(frozen=True, eq=False)
class FrontierPoint:
    """One setting of a series, over its seeds. Points are compared by identity, as keys of dictionaries.

    Attributes:
        dose: Values of ``DOSE`` and, for interpolated models, ``ALPHA``.
        label: Those of these values that vary within the series.
        seeds: Seeds in ascending order.
        accuracies: Accuracy of each seed on each set as fractions, (seeds, sets), by group of sets.
        eces: Mean ECE over seeds and sets, by group of sets.
        validation: Mean accuracy in the last validation over seeds; None if a seed has none.
    """

    dose: Settings
    label: str
    seeds: tuple[int, ...]
    accuracies: Mapping[str, Array]
    eces: Mapping[str, float]
    validation: float | None

    def mean(self, group: str) -> float:
        """Mean accuracy over seeds and the sets of a group."""
        return float(self.accuracies[group].mean())


@dataclass(frozen=True)
class Series:
    """Settings of one method that differ in their dose.

    Attributes:
        label: Settings that distinguish it from other series, with the model and the method of interpolation.
        model: ``student`` or ``teacher``.
        points: Its settings in ascending order of their dose.
    """

    label: str
    model: str
    points: Sequence[FrontierPoint]

    def means(self, group: str) -> Array:
        """Mean accuracy of each point on the sets of a group, (points,)."""
        return np.array([point.mean(group) for point in self.points])

    def front(self, group: str) -> list[FrontierPoint]:
        """Points on the Pareto front of ID accuracy and accuracy on the sets of a group, by ascending ID accuracy."""
        x = self.means(ID)
        kept = np.flatnonzero(on_front(x, self.means(group)))
        return [self.points[number] for number in kept[np.argsort(x[kept], kind="stable")]]


@dataclass(frozen=True)
class Frontiers:
    """Series of settings that were tested on the same sets.

    Attributes:
        names: Names of the experiments.
        series: Series in the order of their first runs.
        starts: Mean accuracy by group of each distinct model before training.
        sizes: Number of samples of each set, (sets,), by group of sets: the roles ``id``, ``ood`` and perhaps
            ``other``, and those of :func:`grid_sets`.
        unchanged: Labels of series that are left out because all their models score like the model before training,
            such as frozen teachers.
        titles: Title of the scores by group of sets, such as ``accuracy``.
    """

    names: Sequence[str]
    series: Sequence[Series]
    starts: Sequence[Mapping[str, float]]
    sizes: Mapping[str, npt.NDArray[np.int64]]
    unchanged: Sequence[str] = ()
    titles: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys((ID, OOD, OTHER), SCORES[ACCURACY]))

    @property
    def roles(self) -> list[str]:
        """Roles whose sets are compared with those of role ``id``."""
        return [group for group in self.sizes if group in ROLES and group != ID]

    @property
    def cells(self) -> list[str]:
        """Cells of the grid that are compared with the sets of role ``id``, and ``general``; none without a grid."""
        return [group for group in self.sizes if group not in ROLES]

    def reference(self, group: str) -> tuple[float, float]:
        """Corner of the areas: ID accuracy before training and smallest mean on a group's sets among all points."""
        return min(start[ID] for start in self.starts), min(float(series.means(group).min()) for series in self.series)


def on_front(x: Array, y: Array) -> npt.NDArray[np.bool_]:
    """Whether each point is on the Pareto front: no other is at least as good in both coordinates and better in one.

    Args:
        x: (points,) first coordinates, the larger the better.
        y: (points,) second coordinates, the larger the better.
    """
    gain_x, gain_y = x[None] - x[:, None], y[None] - y[:, None]
    as_good = (gain_x >= -ROUNDING) & (gain_y >= -ROUNDING)
    better = (gain_x > ROUNDING) | (gain_y > ROUNDING)
    dominated: npt.NDArray[np.bool_] = np.any(as_good & better, axis=1)
    return ~dominated


def hypervolume(x: Array, y: Array, reference: tuple[float, float]) -> Array:
    """Area that points dominate above a reference point; points that are not above it add nothing.

    Args:
        x: (..., points) first coordinates, the larger the better.
        y: (..., points) second coordinates, the larger the better.
        reference: coordinates of the reference point.

    Returns:
        (...) areas.
    """
    order = np.argsort(-x, axis=-1, kind="stable")
    widths = np.maximum(np.take_along_axis(x, order, axis=-1) - reference[0], 0.0)
    heights = np.maximum(np.take_along_axis(y, order, axis=-1) - reference[1], 0.0)
    steps = widths - np.concatenate([widths[..., 1:], np.zeros_like(widths[..., :1])], axis=-1)
    areas: Array = (steps * np.maximum.accumulate(heights, axis=-1)).sum(axis=-1)
    return areas


def id_levels(series: Sequence[Series]) -> list[float]:
    """The largest ID means that all series, and that at least half of them, reach; only the first if both are close."""
    best = sorted((float(member.means(ID).max()) for member in series), reverse=True)
    all_reach, half_reach = best[-1], best[(len(best) + 1) // 2 - 1]
    return [all_reach] if half_reach - all_reach < LEVEL_TOLERANCE else [all_reach, half_reach]


def best_at(series: Series, level: float, group: str) -> FrontierPoint | None:
    """The point with the best mean on a group's sets of those that reach a level of ID accuracy; None if none does."""
    reached = [point for point in series.points if point.mean(ID) >= level - LEVEL_TOLERANCE - ROUNDING]
    return max(reached, key=lambda point: point.mean(group), default=None)


def picked_by_validation(series: Series) -> FrontierPoint | None:
    """The point with the best mean accuracy in validation; None if no point was validated."""
    validated = [point for point in series.points if point.validation is not None]
    return max(validated, key=lambda point: point.validation or 0.0, default=None)


def _members(scores: Scores, role: str) -> list[str]:
    """Names of the scored sets of a role, or of those that its average is over."""
    average = scores.get(AVERAGES.get(role, ""), {})
    return average.get("sets") or [name for name, values in scores.items() if values.get("role") == role]


def _score_name(values: Mapping[str, Any]) -> str | None:
    """Name of the metric of a data set that is compared; None if it has no value."""
    return next((name for name in SCORES if isinstance(values.get(name), int | float)), None)


def _score(values: Mapping[str, Any]) -> float:
    """The score of a data set that is compared, as a fraction."""
    return _number(values, _score_name(values) or ACCURACY)


def _number(values: Mapping[str, Any], name: str) -> float:
    """A metric of a data set; NaN where it is missing, or could not be computed."""
    value = values.get(name)
    return math.nan if value is None else float(value)


def scored_sets(scores: Scores) -> dict[str, tuple[tuple[str, int], ...]]:
    """Name and number of samples of each scored set, by role; empty for roles without such sets."""
    return {role: _with_sizes(_members(scores, role), scores) for role in ROLES}


def _with_sizes(names: Iterable[str], scores: Scores) -> tuple[tuple[str, int], ...]:
    """Name and number of samples of those of the sets that are scored."""
    scored = (name for name in sorted(names) if name in scores and _score_name(scores[name]) is not None)
    return tuple((name, int(scores[name]["n"])) for name in scored if scores[name].get("n"))


def grid_sets(scores: Scores) -> dict[str, tuple[tuple[str, int], ...]]:
    """Scored sets of the cells of the grid of images and texts that are not trained on, and of ``general``.

    ``general`` are the sets whose text is ``general``. Where there are none, they are the sets of role ``other`` with
    OOD images: neither their images nor their questions are those of training.

    Args:
        scores: scores of a model on the sets and cells.

    Returns:
        Name and number of samples of each set, by cell; empty without a grid.
    """
    cells = {
        cell: values["sets"]
        for name, values in scores.items()
        if "sets" in values and (cell := cell_of(name)) and cell != (ID, ID)
    }
    general = [name for (_, text), members in cells.items() if text == GENERAL for name in members] or [
        name
        for (image, _), members in cells.items()
        if image == OOD
        for name in members
        if scores.get(name, {}).get("role") == OTHER
    ]
    groups = {cell_name(*cell): members for cell, members in cells.items() if cell[1] != GENERAL} | {GENERAL: general}
    sized = {group: _with_sizes(members, scores) for group, members in groups.items()}
    return {group: members for group, members in sized.items() if members}


def group_title(group: str) -> str:
    """Title of a group of sets: ``OOD``, ``wording on ID images`` or ``general``."""
    cell = cell_of(group)
    if cell is None:
        return ROLE_TITLES.get(group, group)
    image, text = cell
    return f"{TEXT_TITLES.get(text, text)} on {IMAGE_TITLES.get(image, image)}"


def mean_scores(scores: Scores, sets: Sets) -> dict[str, float]:
    """Mean score of a model over the sets of each group that has any, as fractions."""
    return {
        group: statistics.fmean(_score(scores[name]) for name, _ in members)
        for group, members in sets.items()
        if members
    }


def _list_sets(sets: Sets) -> str:
    return "; ".join(
        f"{role}: {', '.join(f'{name} ({n:,})' for name, n in members)}" for role, members in sets.items() if members
    )


def _check_sets(trials: Iterable[Trial]) -> Sets:
    """The sets that all these models were tested on.

    Raises:
        ValueError: there are several, or none of role ``id`` or ``ood``.
    """
    by_source = [(trial.source, scored_sets(trial.scores)) for trial in trials]
    first, sets = by_source[0]
    for source, source_sets in by_source:
        if source_sets != sets:
            raise ValueError(
                "frontiers compare models that were tested on the same sets; "
                f"{first} was tested on {_list_sets(sets)}, and {source} on {_list_sets(source_sets)}"
            )
    for missing, is_missing in ((ID, not sets[ID]), (f"{OOD} or {OTHER}", not (sets[OOD] or sets[OTHER]))):
        if is_missing:
            raise ValueError(
                f"frontiers need accuracy or recall on sets of role {missing}; {first} has {_list_sets(sets) or 'none'}"
            )
    return sets


def _points(settings: Sequence[tuple[Settings, Mapping[int, Trial]]], sets: Sets) -> list[FrontierPoint]:
    """Points of a series in the order of their doses."""
    doses = [dose for dose, _ in settings]
    varied = [name for name in (*DOSE, ALPHA) if len({dose.get(name) for dose in doses}) > 1]
    ordered = sorted(settings, key=lambda setting: _dose_order(setting[0]))
    return [_point(dose, varied, [*trials.values()], sets) for dose, trials in ordered]


def _point(dose: Settings, keys: Sequence[str], trials: Sequence[Trial], sets: Sets) -> FrontierPoint:
    ordered = sorted(trials, key=lambda trial: trial.seed)
    names = {group: [name for name, _ in members] for group, members in sets.items() if members}
    validation = [_score(trial.validation) for trial in ordered]
    return FrontierPoint(
        dose,
        _dose_label(dose, keys),
        tuple(trial.seed for trial in ordered),
        {group: _values(ordered, members, _score) for group, members in names.items()},
        {group: float(_values(ordered, members, _ece).mean()) for group, members in names.items()},
        statistics.fmean(validation) if all(map(math.isfinite, validation)) else None,
    )


def _ece(values: Mapping[str, Any]) -> float:
    return _number(values, ECE)


def _values(trials: Sequence[Trial], names: Sequence[str], measure: Callable[[Mapping[str, Any]], float]) -> Array:
    return np.array([[measure(trial.scores[name]) for name in names] for trial in trials], dtype=np.float64)


def _dose_label(dose: Settings, keys: Sequence[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]} {format_value(key, dose[key])}" for key in keys if key in dose)


@dataclass(frozen=True)
class _Key:
    """What the trials of a series have in common."""

    settings: frozenset[Any]
    model: str
    curve: str | None
    options: frozenset[Any] = frozenset()


def _split(settings: Settings) -> tuple[Settings, Settings]:
    """The dose, and the settings that remain."""
    return (
        {key: settings[key] for key in DOSE if key in settings},
        {key: value for key, value in settings.items() if key not in DOSE},
    )


def _trials(
    groups: Sequence[RunGroup], interpolations: Sequence[Interpolation], models: Sequence[str]
) -> Iterator[tuple[_Key, Settings, Trial]]:
    """Yield the key of its series, the dose and the scores of every model of these kinds."""
    for model in models:
        for group in groups:
            dose, shared = _split(group.settings)
            for run in (run for run in group.runs if model in run.scores):
                trial = Trial(str(run.folder), run.seed, run.scores[model], run.validation)
                yield _Key(frozenset(shared.items()), model, None), dose, trial
    for merge in interpolations:
        dose, shared = _split(merge.settings)
        for alpha, scores in merge.scores.items() if merge.model in models else ():
            trial = Trial(str(merge.folder), merge.seed, scores, {})
            key = _Key(frozenset(shared.items()), merge.model, merge.curve, frozenset(merge.options.items()))
            yield key, {**dose, ALPHA: alpha}, trial


def _series_label(key: _Key, keys: Sequence[str], options: Sequence[str]) -> str:
    """Label such as ``flyp, peft=lora``; the method leads, and PEFT is named where there is one."""
    settings: Settings = dict(key.settings)
    present = [setting for setting in keys if setting in settings]
    further = [setting for setting in present if setting != METHOD and (setting, settings[setting]) != (PEFT, "none")]
    leads = METHOD in settings and (METHOD in present or not present)
    parts = [format_value(METHOD, settings[METHOD])] if leads else []
    if further:
        parts.append(label(settings, further))
    name = (", ".join(parts) or label(settings, keys or [METHOD])).replace('"', "")  # of lists, which JSON quotes
    model = f" ({TEACHER})" if key.model == TEACHER else ""
    if key.curve is None:
        return f"{name}{model}"
    chosen = dict(key.options)
    differing = ", ".join(f"{option} {chosen[option]}" for option in options if option in chosen)
    return f"{name}{model} + {key.curve}{f' ({differing})' if differing else ''}"


def _dose_order(dose: Settings) -> list[tuple[bool, float]]:
    """Sort key of a dose: by its numbers; missing values and texts come first."""
    values = [dose.get(key) for key in (*DOSE, ALPHA)]
    return [(isinstance(value, int | float), value if isinstance(value, int | float) else 0.0) for value in values]


def _starts(runs: Sequence[Run], sets: Sets) -> list[dict[str, float]]:
    """Mean accuracy by group of each distinct model before training."""
    starts: list[dict[str, float]] = []
    for run in runs:
        start = mean_scores(run.scores[ZERO_SHOT], sets)
        if all(any(abs(start[role] - known[role]) > TOLERANCE for role in start) for known in starts):
            starts.append(start)
    return starts


def frontiers(groups: Sequence[RunGroup], interpolations: Sequence[Interpolation], model: str) -> Frontiers:
    """Arrange runs and interpolated models in series.

    Of interpolated models with the same run, seed and alpha only the first counts.

    Args:
        groups: groups of runs that differ only in their seed.
        interpolations: merges of runs, which need not be among those of the groups.
        model: one of ``CHOICES``: the students, the teachers, or all of them as series of their own.

    Raises:
        ValueError: the runs have no such model, are of one series, have one dose, lack sets of role ``ood`` or scores
            before training, or were tested on different sets.
    """
    models = [name for name in CHOICES[model] if name != ZERO_SHOT]
    trials: dict[_Key, dict[Hashable, tuple[Settings, dict[int, Trial]]]] = {}
    for key, dose, trial in _trials(groups, interpolations, models):
        settings = trials.setdefault(key, {})
        settings.setdefault(frozenset(dose.items()), (dose, {}))[1].setdefault(trial.seed, trial)
    if not trials:
        raise ValueError(f"model {model}: none of these runs has a trained one; choose another")
    runs = [run for group in groups for run in group.runs if ZERO_SHOT in run.scores]
    if not runs:
        raise ValueError("frontiers start at the model before training, and none of these runs has scores of it")
    before = [Trial(str(run.folder), run.seed, run.scores[ZERO_SHOT], {}) for run in runs]
    after = [trial for points in trials.values() for _, seeds in points.values() for trial in seeds.values()]
    sets = {**_check_sets([*after, *before]), **grid_sets(before[0].scores)}
    keys = varied_keys([dict(key.settings) for key in trials])
    options = varied_keys([dict(key.options) for key in trials if key.curve is not None])
    series = [
        Series(_series_label(key, keys, options), key.model, _points([*settings.values()], sets))
        for key, settings in trials.items()
    ]
    starts = _starts(runs, sets)
    changed = [member for member in series if not _is_unchanged(member, starts)]
    unchanged = [member.label for member in series if member not in changed]
    _check_series(changed, unchanged)
    names = dict.fromkeys(run.name for group in groups for run in group.runs)
    sizes = {group: np.array([n for _, n in members]) for group, members in sets.items() if members}
    return Frontiers(list(names), changed, starts, sizes, unchanged, score_titles(before[0].scores, sets))


def score_titles(scores: Scores, sets: Sets) -> dict[str, str]:
    """Title of the scores by group, such as ``accuracy``."""
    names = {group: [_score_name(scores[name]) or ACCURACY for name, _ in members] for group, members in sets.items()}
    return {group: " or ".join(dict.fromkeys(SCORES[name] for name in metrics)) for group, metrics in names.items()}


def _is_unchanged(series: Series, starts: Sequence[Mapping[str, float]]) -> bool:
    """Whether every point has the scores of a model before training, but for rounding on another device."""
    return all(
        any(all(abs(point.mean(role) - mean) <= TOLERANCE for role, mean in start.items()) for start in starts)
        for point in series.points
    )


def _check_series(series: Sequence[Series], unchanged: Sequence[str]) -> None:
    """Raise ValueError where there is nothing to compare."""
    if not series:
        raise ValueError("frontiers need trained models, and all of these score like the model before training")
    if len(series) == 1:
        exceptions = f", apart from {', '.join(unchanged)}, which score like the start" if unchanged else ""
        raise ValueError(
            f"frontiers compare several series, and all of these runs belong to {series[0].label}"
            f"{exceptions}; add runs of another"
        )
    if all(len(member.points) == 1 for member in series):
        raise ValueError(
            f"frontiers need series with several settings of {' or '.join(DOSE)}, or merges with several alphas; each "
            "of these series has one"
        )
