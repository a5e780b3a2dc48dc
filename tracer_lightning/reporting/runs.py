"""Find finished runs on disk and group them by settings."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracer_lightning.reporting.command_line import say
from tracer_lightning.reporting.files import read_yaml
from tracer_lightning.reporting.model_choices import STUDENT, TEACHER, ZERO_SHOT
from tracer_lightning.reporting.results_file import read_results
from tracer_lightning.reporting.settings import Settings, settings_of
from tracer_lightning.scores import CLASSIFICATION, Metric
from tracer_lightning.storage.run_layout import CONFIG, HYDRA, LOG, MERGE, RESULTS, SEQUENCE

ROUNDING = 1e-6
"""Largest difference of scores that count as equal."""
MODELS = (ZERO_SHOT, STUDENT, TEACHER)
Scores = Mapping[str, Mapping[str, Any]]
"""Metrics in [0, 1] by dataset or average."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: Folder of the run.
        name: Name of its experiment.
        seed: Seed of the run.
        settings: Settings that determine its result, except the seed.
        scores: Scores by model, for the models that the run has.
        trained_share: Share of trained parameters, a fraction; None if an older version did not write it.
        metrics: Metrics that its suite declares.
        untrained: Name of the model before training: ``zero-shot`` or, in families without it, ``before``.
        validation: Metrics of its student in the last validation; empty if they are not known or those of a test set.
        tags: Labels that its user gave it.
    """

    folder: Path
    name: str
    seed: int
    settings: Settings
    scores: Mapping[str, Scores]
    trained_share: float | None
    metrics: Sequence[Metric] = CLASSIFICATION
    untrained: str = "zero-shot"
    validation: Mapping[str, float] = field(default_factory=dict)
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ only in their seeds, one for each seed."""

    settings: Settings
    runs: Sequence[Run]

    @property
    def seeds(self) -> list[int]:
        """Seeds in ascending order."""
        return sorted(run.seed for run in self.runs)


def _natural_key(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _folders(pattern: str, file: str, marks: Set[str], closed_by: str | None) -> Iterator[Path]:
    matches = [pattern] if Path(pattern).exists() else glob.glob(pattern, recursive=True)  # noqa: PTH207 (absolute ones, too)
    if not matches:
        raise ValueError(f"{pattern}: no such folder; give folders of runs or sweeps, or glob patterns of them")
    for match in matches:
        if Path(match).name == file:
            yield Path(match).parent
        for root, subfolders, files in os.walk(match):
            if closed_by in files:
                subfolders.clear()
                continue
            if {file, *marks} & {*files, *subfolders}:
                yield Path(root)
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]


def find_folders(
    patterns: Iterable[str], file: str, marks: Set[str] = frozenset(), closed_by: str | None = None
) -> list[Path]:
    """Find the folders at and below paths or glob patterns that contain a file, each once, in natural order.

    Args:
        patterns: folders, glob patterns of them, or paths of the file itself.
        file: name of the file.
        marks: names of files and folders that a folder may contain instead.
        closed_by: name of a file whose folder is left out, with all below it, unless a pattern matches what is below.

    Raises:
        ValueError: a pattern matches nothing.
    """
    folders = {folder.resolve(): folder for pattern in patterns for folder in _folders(pattern, file, marks, closed_by)}
    return sorted(folders.values(), key=_natural_key)


def read_run(folder: Path) -> Run:
    """Read the run in a folder.

    Raises:
        ValueError: a file is missing or has invalid content.
    """
    try:
        results = read_results(folder / RESULTS)
        config = read_yaml(folder / CONFIG)
        settings = settings_of(config)
        models = {ZERO_SHOT: results.untrained, STUDENT: results.student, TEACHER: results.teacher}
        scores = {model: sets for model, sets in models.items() if sets}
        if not scores or results.name is None or results.seed is None:
            raise ValueError("it has no scores, name or seed")
        parameters = results.parameters
        share = None if parameters is None else parameters.trained / parameters.total
        untrained = "zero-shot" if results.before is None else "before"
        metrics, validation = results.declared_metrics, results.held_out
        tags = tuple(map(str, config.get("tags") or ()))
        return Run(folder, results.name, results.seed, settings, scores, share, metrics, untrained, validation, tags)
    except OSError as error:
        raise ValueError(f"{folder}: {error.strerror}: {Path(error.filename).name}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError) as error:
        raise ValueError(f"{folder}: {RESULTS} or {CONFIG} is not a valid file of a run ({error!r})") from error


def _is_of_another_command(folder: Path) -> bool:
    """Whether the only log in a folder is that of another command, such as evaluate.log."""
    logs = {path.name for path in folder.glob("*.log")}
    return bool(logs) and LOG not in logs


def find_runs(patterns: Iterable[str], required: bool = True) -> tuple[list[Run], list[str]]:
    """Find all finished runs at and below folders or glob patterns, each once, in natural order of their paths.

    The runs of a sequence of tasks, which depend on one another, are only found where patterns match their own folders.

    Args:
        patterns: folders, or glob patterns of them.
        required: whether it is an error if there is no finished run.

    Returns:
        The runs, and a warning for every run that is unfinished or cannot be read.

    Raises:
        ValueError: a pattern matches nothing, or no run is finished although one is required.
    """
    runs, warnings = [], []
    for folder in find_folders(patterns, RESULTS, {CONFIG, HYDRA}, closed_by=SEQUENCE):
        if (folder / MERGE).exists():
            continue
        if not (folder / RESULTS).exists():
            if not _is_of_another_command(folder):
                warnings.append(f"{folder}: unfinished or failed, has no {RESULTS}; left out")
            continue
        try:
            runs.append(read_run(folder))
        except ValueError as error:
            warnings.append(f"{error}; left out")
    if not runs and required:
        raise ValueError(f"{' '.join(patterns)}: no finished run there; a finished run's folder holds {RESULTS}")
    return runs, warnings


def _same(first: Any, second: Any) -> bool:
    """Whether results are equal up to the rounding of another machine."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(_same(value, second[key]) for key, value in first.items())
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, abs_tol=ROUNDING)
    return bool(first == second)


def group_runs(runs: Iterable[Run]) -> tuple[list[RunGroup], list[str]]:
    """Group runs that differ only in their seed, in the order of their first runs.

    Of runs with equal settings and seed only the first counts, as a repetition is not another sample.

    Returns:
        The groups, and a warning for every repetition.
    """
    groups: dict[frozenset[Any], dict[int, Run]] = {}
    warnings = []
    for run in runs:
        seeds = groups.setdefault(frozenset(run.settings.items()), {})
        first = seeds.setdefault(run.seed, run)
        if first is not run:
            result = "the same result" if _same(first.scores, run.scores) else "ANOTHER result"
            warnings.append(f"{run.folder}: settings and seed of {first.folder}, with {result}; left out")
    return [RunGroup(next(iter(seeds.values())).settings, list(seeds.values())) for seeds in groups.values()], warnings


def read_groups(patterns: Sequence[str], required: bool = True) -> list[RunGroup]:
    """Group the finished runs below folders or glob patterns, and warn about each run that is left out.

    Args:
        patterns: folders, or glob patterns of them.
        required: whether it is an error if there is no finished run.

    Raises:
        ValueError: as for :func:`find_runs`.
    """
    runs, unreadable = find_runs(patterns, required)
    groups, repeated = group_runs(runs)
    for warning in (*unreadable, *repeated):
        say(f"warning: {warning}", stderr=True)
    return groups
