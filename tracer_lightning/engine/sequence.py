"""Folder of a sequence of tasks, weights that are handed on, scores after each task, and their summary.

``commands/continual.py`` runs the tasks.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.resume import AUTO, compare_settings, last_unfinished
from tracer_lightning.engine.run_folder import (
    CONTINUAL,
    RESULTS,
    RUN_LOCK,
    SEQUENCE,
    is_finished,
    list_checkpoints,
    wait_until,
    write_json,
)
from tracer_lightning.engine.settings import flatten, shortened
from tracer_lightning.models import Model
from tracer_lightning.models.open_clip.state_dicts import STUDENT
from tracer_lightning.reporting.continual import continual_tables, draw_continual, read_continual
from tracer_lightning.reporting.files import read_yaml
from tracer_lightning.reporting.results_file import Results, read_results
from tracer_lightning.reporting.style import save, style
from tracer_lightning.scores import Metric
from tracer_lightning.storage import write_text
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO
from tracer_lightning.storage.run_layout import task_folder

Matrix = Sequence[Sequence[float | None]]
"""R: a row for the model before training and one after each task, a column for each task."""
FIXED = ("continual.hand_on", "seed")
"""Settings besides the tasks in which a sequence and its continuation must not differ."""


class SequenceInfo(NamedTuple):
    """What a sequence's files state about it."""

    folder: Path
    """Folder of the sequence."""
    sets: Mapping[str, Sequence[str]]
    """The tasks in order, with the test sets whose mean is the task's score."""
    general: Sequence[str]
    """Test sets whose mean is the general score."""
    hand_on: str
    """Model that the next task starts from: ``student`` or ``teacher``."""

    @property
    def folders(self) -> list[Path]:
        """Folders of the tasks."""
        return [task_folder(self.folder, number, name) for number, name in enumerate(self.sets, 1)]


def is_first_process() -> bool:
    """Whether this process writes the files of the sequence."""
    return getattr(rank_zero_only, "rank", 0) == 0


# -- the folder -------------------------------------------------------------------------------------------------------


def find_sequence_folder(resume: str | None, settings: Mapping[str, Any], is_unnamed: bool) -> Path:
    """The folder that a sequence is run in.

    Args:
        resume: None, or ``auto`` to continue the sequence in the folder or, where the run is unnamed, the last
            unfinished sequence of the same settings, in that one's folder.
        settings: resolved settings of the sequence.
        is_unnamed: whether the folder is named by the time at which the run began.

    Raises:
        ValueError: another run or sequence has written in the folder, or ``resume`` is a path.
    """
    folder = Path(settings["paths"]["output_dir"])
    if resume not in (None, AUTO):
        raise ValueError(f"a sequence of tasks is continued in its own folder; set it to {AUTO!r}, got {resume}")
    if not is_first_process():
        return folder if resume is None else _folder_to_continue(folder, settings, is_unnamed)
    if list_checkpoints(folder):
        raise ValueError(f"{folder} holds a single run; give this sequence of tasks another name")
    if resume is None:
        if any(list_checkpoints(path) for path in folder.glob("*")):
            raise ValueError(
                f"{folder} holds a sequence of tasks already; set resume to {AUTO!r} to continue it, or give this one "
                "another name"
            )
        return folder
    folder = _folder_to_continue(folder, settings, is_unnamed)
    if (folder / SEQUENCE).exists():
        _check_same_sequence(folder, settings)
    return folder


def _folder_to_continue(folder: Path, settings: Mapping[str, Any], is_unnamed: bool) -> Path:
    def is_unfinished(path: Path) -> bool:
        return not (path / CONTINUAL).exists()

    if (folder / SEQUENCE).exists() or not is_unnamed:
        return folder
    return last_unfinished(settings, SEQUENCE, is_unfinished) or folder


def _check_same_sequence(folder: Path, settings: Mapping[str, Any]) -> None:
    """Raise ValueError where the folder holds another sequence, or one of settings that must not change."""
    saved = read_yaml(folder / SEQUENCE)
    tasks = saved.get("tasks")
    previous_tasks = tasks if isinstance(tasks, dict) else {}
    if [*previous_tasks.items()] != [*settings["tasks"].items()]:
        raise ValueError(
            f"tasks: {folder} holds the sequence {', '.join(map(str, previous_tasks))}, and this one is "
            f"{', '.join(settings['tasks'])}, or their data differ; give this one another name"
        )
    previous, current = dict(flatten(saved)), dict(flatten(settings))
    for key in FIXED:
        if previous.get(key) != current[key]:
            raise ValueError(
                f"{key}: this sequence has {current[key]} and the one in {folder} {shortened(previous.get(key))}; "
                "continue with the same, or give this one another name"
            )
    compare_settings(saved, settings)


def check_order(folders: Sequence[Path]) -> None:
    """Raise ValueError where a task is finished and one before it is not, on whose weights it depends."""
    for earlier, later in itertools.pairwise(folders):
        if is_finished(later) and not is_finished(earlier):
            raise ValueError(f"{later} is finished, and {earlier}, from which it starts, is not; delete {later}")


# -- weights ----------------------------------------------------------------------------------------------------------


def provide_weights(path: Path, load: Callable[[], Model]) -> Path:
    """Write the weights of a model, with low-rank updates merged, once; the other processes wait for the first one.

    Args:
        path: file to write.
        load: loads the model with merged weights.
    """
    if is_first_process():
        if not path.exists():
            state = {f"{STUDENT}{name}": value for name, value in load().state_dict().items()}
            AtomicCheckpointIO().save_checkpoint({"state_dict": state}, path)
    else:
        lock = path.parents[1] / RUN_LOCK  # that of the sequence
        wait_until(path.exists, lock, f"the process that writes {path} has ended without writing it")
    return path


# -- scores -----------------------------------------------------------------------------------------------------------


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None where there are no values or one is not known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def task_scores(
    results: Sequence[Results], sets: Sequence[Sequence[str]], metric: str, model: str
) -> list[list[float | None]]:
    """R: the mean of a metric over each task's test sets, before the first task and after each task.

    Args:
        results: results of each task's run.
        sets: names of each task's test sets.
        metric: name of the metric.
        model: ``student`` or ``teacher``, whose scores after training are used.

    Returns:
        One row more than there are results, the first of which is of the model before training.
    """
    stages = [results[0].untrained, *(getattr(result, model) for result in results)]
    return [[_mean([scores[name].get(metric) for name in names]) for names in sets] for scores in stages]


def summarize(matrix: Matrix, is_lower_better: bool = False) -> dict[str, float | None]:
    """The measures of a sequence of n tasks; row 0 of R is before training, and tasks are counted from 1.

    - ``learned``: mean of R[j, j], the scores right after each task's own training.
    - ``last``: mean of R[n, j], the scores after the last task.
    - ``average``: mean over i of the mean of R[i, j] over the tasks j <= i.
    - ``bwt`` (backward transfer): mean over j < n of R[n, j] - R[j, j].
    - ``forgetting``: mean over j < n of max(R[i, j] for 1 <= i < n) - R[n, j].

    Args:
        matrix: R, n + 1 rows of n scores.
        is_lower_better: whether the score is an error: then backward transfer and forgetting are of its negative, so
            that negative backward transfer and positive forgetting are losses for every metric.

    Returns:
        None for what needs a score that is not known, or a second task.
    """
    sign = -1.0 if is_lower_better else 1.0
    n = len(matrix) - 1
    if any(score is None for row in matrix for score in row):
        return dict.fromkeys(("learned", "last", "average", "bwt", "forgetting"))
    scores: Any = matrix
    earlier = range(n - 1)
    best = [max(sign * scores[i][j] for i in range(1, n)) for j in earlier]
    return {
        "learned": _mean([scores[j + 1][j] for j in range(n)]),
        "last": _mean(scores[n]),
        "average": _mean([_mean(scores[i][:i]) for i in range(1, n + 1)]),
        "bwt": _mean([sign * (scores[n][j] - scores[j + 1][j]) for j in earlier]),
        "forgetting": _mean([best[j] - sign * scores[n][j] for j in earlier]),
    }


def _model_scores(info: SequenceInfo, results: Sequence[Results], metric: Metric, model: str) -> dict[str, Any]:
    matrix = task_scores(results, list(info.sets.values()), metric.name, model)
    summary = summarize(matrix, metric.better == "lower")
    stages = task_scores(results, [info.general], metric.name, model) if info.general else []
    general = [score for (score,) in stages]
    return {"R": matrix, "general_by_task": general, **summary, "general": general[-1] if general else None}


def finish_sequence(info: SequenceInfo, metric_name: str) -> dict[str, Any]:
    """Read the results of all tasks; write and print the scores of the sequence.

    Args:
        info: the sequence, whose tasks are finished.
        metric_name: name of the metric that is a test set's score.

    Returns:
        The content of continual.json.
    """
    results = [read_results(folder / RESULTS) for folder in info.folders]
    metric = next(metric for metric in results[0].declared_metrics if metric.name == metric_name)
    models = [model for model in ("student", "teacher") if all(getattr(result, model) for result in results)]
    content = {
        "name": results[0].name,
        "method": results[0].method,
        "hand_on": info.hand_on,
        "headline": metric.name,
        "metric": metric.declaration(),
        "tasks": [
            {"name": name, "folder": folder.name, "sets": list(sets), "seed": result.seed}
            for (name, sets), folder, result in zip(info.sets.items(), info.folders, results, strict=True)
        ],
        "general": list(info.general),
        "models": {model: _model_scores(info, results, metric, model) for model in models},
    }
    write_json(info.folder / CONTINUAL, content)
    record = read_continual(info.folder / CONTINUAL)
    for table in continual_tables(record):
        console.print(table)
    with style():
        figure = draw_continual(record)
        paths = [save(figure, info.folder / f"continual.{suffix}") for suffix in ("png", "svg")]
    print_rank_zero(f"scores after each task are in {info.folder / CONTINUAL} and {paths[0].name}")
    return content


def write_settings(folder: Path, settings: str) -> None:
    """Write the resolved settings of a sequence, which make its folder that of a sequence.

    Args:
        folder: folder of the sequence.
        settings: the settings as YAML.
    """
    write_text(folder / SEQUENCE, settings)
