"""Scores of sequences of tasks: reading continual.json, tables, the heat map, and comparison over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from rich import box
from rich.table import Table
from rich.text import Text

from tracer_lightning.reporting.comparison import Measurement, ResultKey, over_seeds
from tracer_lightning.reporting.escaping import csv_text, printable
from tracer_lightning.reporting.files import read_json, read_yaml
from tracer_lightning.reporting.model_choices import CHOICES
from tracer_lightning.reporting.results_file import MetricRecord
from tracer_lightning.reporting.runs import find_folders
from tracer_lightning.reporting.settings import METHOD, Settings, label, settings_of, title, varied_keys
from tracer_lightning.reporting.tables import TableColumn, TableSection, TextTable, format_measurement
from tracer_lightning.scores import Metric
from tracer_lightning.storage.records import DisplayText, StrictRecord, read_record
from tracer_lightning.storage.run_layout import CONTINUAL, SEQUENCE

SUMMARIES = {
    "learned": "learned",
    "last": "last",
    "average": "average",
    "bwt": "BWT",
    "forgetting": "forgetting",
    "general": "general",
}
"""Titles of the measures of a sequence."""
SIGNED = ("bwt",)
"""Measures that are differences, whose positive values are shown with a sign."""
NOTE = (
    "learned: each task right after its own training; last: all tasks after the last one; average: mean over stages of "
    "the tasks so far; BWT: last minus learned of all tasks but the last; forgetting: best score so far minus last; "
    "general: the other test sets after the last task"
)
TASKS, HAND_ON = "tasks", "continual.hand_on"
PALETTE = LinearSegmentedColormap.from_list("scores", ("#ffffff", "#74a9dc"))
"""Colours of low to high scores, light enough for black text."""


class TaskRecord(StrictRecord):
    """A task of a sequence."""

    name: DisplayText
    folder: DisplayText
    sets: list[DisplayText]
    seed: int | None


class ModelRecord(StrictRecord):
    """Scores of the student or the teacher in a sequence, as :func:`tracer_lightning.engine.sequence.summarize` says.

    ``R`` and ``general_by_task`` begin with the model before training.
    """

    R: list[list[float | None]]
    general_by_task: list[float | None]
    learned: float | None
    last: float | None
    average: float | None
    bwt: float | None
    forgetting: float | None
    general: float | None

    @property
    def summary(self) -> dict[str, float | None]:
        """The measures by name."""
        return {name: getattr(self, name) for name in SUMMARIES}


class ContinualRecord(StrictRecord):
    """Content of continual.json."""

    name: DisplayText | None
    method: DisplayText | None
    hand_on: DisplayText
    headline: DisplayText
    metric: MetricRecord
    tasks: list[TaskRecord]
    general: list[DisplayText]
    models: dict[DisplayText, ModelRecord]

    @property
    def declared(self) -> Metric:
        """Declaration of the metric that scores are of."""
        return Metric(self.headline, **dict(self.metric))

    @property
    def stages(self) -> list[str]:
        """Names of the rows of R."""
        return ["before", *(f"after {number}. {task.name}" for number, task in enumerate(self.tasks, 1))]


def read_continual(path: Path) -> ContinualRecord:
    """Read and validate the scores of a sequence.

    Raises:
        ValueError: the content is invalid; the message names the file and the entry.
    """
    where = f"{path} does not have the form that a sequence of tasks writes"
    record = read_record(ContinualRecord, read_json(path), where)
    stages, columns = len(record.tasks) + 1, len(record.tasks)
    for scores in record.models.values():
        has_shape = len(scores.R) == stages and all(len(row) == columns for row in scores.R)
        if not has_shape or len(scores.general_by_task) not in (0, stages) or not columns or not record.models:
            raise ValueError(f"{where}: R must have {stages} rows of {columns} scores")
    return record


# -- one sequence -----------------------------------------------------------------------------------------------------


def _text(value: float | None, metric: Metric, sign: str = "") -> str:
    return format_measurement(None if value is None else Measurement(value), metric, 1, sign)


def continual_tables(record: ContinualRecord) -> Iterator[Table]:
    """Yield for each model the table of its scores after each task, and then one of the measures of all models."""
    metric = record.declared
    unit = ", in percent" if metric.percent else ""
    for model, scores in record.models.items():
        table = Table(title=Text(f"{model}: {metric.title} of each task{unit}"), box=box.SIMPLE, pad_edge=False)
        table.add_column("")
        for task in record.tasks:
            table.add_column(Text(task.name), justify="right")
        if scores.general_by_task:
            table.add_column("general", justify="right")
        for number, (stage, row) in enumerate(zip(record.stages, scores.R, strict=True)):
            values = [*row, *scores.general_by_task[number : number + 1]]
            table.add_row(Text(stage), *(_text(value, metric) for value in values))
        yield table
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("")
    for heading in SUMMARIES.values():
        table.add_column(heading, justify="right")
    for model, scores in record.models.items():
        texts = (_text(value, metric, "+" if name in SIGNED else "") for name, value in scores.summary.items())
        table.add_row(model, *texts)
    yield table


def draw_continual(record: ContinualRecord) -> Figure:
    """Draw R of each model as a heat map: rows after each task, columns tasks and, where known, the general score."""
    metric = record.declared
    has_general = any(scores.general_by_task for scores in record.models.values())
    columns = [printable(task.name) for task in record.tasks] + ["general"] * has_general
    values = {
        model: [[*row, *scores.general_by_task[stage : stage + 1]] for stage, row in enumerate(scores.R)]
        for model, scores in record.models.items()
    }
    numbers = [value for rows in values.values() for row in rows for value in row if value is not None] or [0.0]
    factor = 100 if metric.percent else 1
    low, high = (0.0, 1.0) if metric.percent else (min(numbers), max(numbers))
    stages = [printable(stage) for stage in record.stages]
    width = 0.085 * max(map(len, stages)) + len(values) * (0.75 * len(columns) + 0.4) + 0.9
    figure = Figure(figsize=(max(width, 4.0), 0.5 * len(stages) + 1.6), layout="constrained")
    panels = figure.subplots(1, len(values), squeeze=False, sharey=True)[0]
    image: Any = None
    for axes, (model, rows) in zip(panels, values.items(), strict=True):
        floats = [[float("nan") if value is None else factor * value for value in row] for row in rows]
        image = axes.imshow(floats, cmap=PALETTE, vmin=factor * low, vmax=factor * high, aspect="auto")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                axes.text(j, i, _text(value, metric), ha="center", va="center")
        axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(stages)), stages)
        axes.set_title(printable(model))
    unit = " (%)" if metric.percent else ""
    figure.colorbar(image, ax=list(panels), label=f"{metric.title}{unit}", fraction=0.05)
    return figure


# -- several sequences ------------------------------------------------------------------------------------------------


class TaskSequence(NamedTuple):
    """A finished sequence of tasks."""

    folder: Path
    """Folder of the sequence."""
    settings: Settings
    """Settings that determine its result, except the seed."""
    seed: int | None
    """Seed of its first task."""
    record: ContinualRecord
    """Scores of the sequence."""


class SequenceGroup(NamedTuple):
    """Sequences that differ only in their seeds, one for each seed."""

    settings: Settings
    """Settings that the sequences share."""
    sequences: Sequence[TaskSequence]
    """The sequences."""


def sequence_settings(config: Mapping[str, Any]) -> Settings:
    """The settings that determine the result of a sequence, except the seed.

    Args:
        config: the resolved settings, as in a sequence's continual.yaml.
    """
    settings = settings_of(config)
    continual = config.get("continual") or {}
    return {**settings, TASKS: " ".join(config.get("tasks") or ()), HAND_ON: str(continual.get("hand_on"))}


def find_sequences(patterns: Iterable[str]) -> tuple[list[TaskSequence], list[str]]:
    """Find all finished sequences at and below folders or glob patterns.

    Returns:
        The sequences, and a warning for each one that is unfinished or can't be read.

    Raises:
        ValueError: a pattern matches nothing.
    """
    sequences, warnings = [], []
    for folder in find_folders(patterns, SEQUENCE):
        if not (folder / CONTINUAL).exists():
            warnings.append(f"{folder}: unfinished or failed, has no {CONTINUAL}; left out")
            continue
        try:
            record = read_continual(folder / CONTINUAL)
            settings = sequence_settings(read_yaml(folder / SEQUENCE))
        except (ValueError, TypeError, AttributeError) as error:
            warnings.append(f"{folder}: {error}; left out")
            continue
        sequences.append(TaskSequence(folder, settings, record.tasks[0].seed, record))
    return sequences, warnings


def group_sequences(sequences: Iterable[TaskSequence]) -> tuple[list[SequenceGroup], list[str]]:
    """Group sequences that differ only in their seed; of equal settings and seed only the first one counts.

    Returns:
        The groups, and a warning for every repetition.
    """
    groups: dict[frozenset[Any], dict[int | None, TaskSequence]] = {}
    warnings = []
    for sequence in sequences:
        seeds = groups.setdefault(frozenset(sequence.settings.items()), {})
        first = seeds.setdefault(sequence.seed, sequence)
        if first is not sequence:
            warnings.append(f"{sequence.folder}: settings and seed of {first.folder}; left out")
    return [
        SequenceGroup(next(iter(seeds.values())).settings, list(seeds.values())) for seeds in groups.values()
    ], warnings


class SequenceRow(NamedTuple):
    """Measures of one model of a group of sequences."""

    label: str
    """Settings that distinguish the group from others."""
    model: str
    """``student`` or ``teacher``."""
    group: SequenceGroup
    """The sequences."""
    cells: Mapping[str, Measurement]
    """Statistics over seeds by measure."""


def compare_sequences(groups: Sequence[SequenceGroup], model: str) -> list[SequenceRow]:
    """Statistics over the seeds of each group for the models that are chosen.

    Args:
        groups: groups of sequences.
        model: one of :data:`tracer_lightning.reporting.comparison.CHOICES`.

    Raises:
        ValueError: no sequence has this model.
    """
    keys = varied_keys([group.settings for group in groups]) or [METHOD]
    rows = []
    for group in groups:
        for name in CHOICES[model]:
            scores = [sequence.record.models.get(name) for sequence in group.sequences]
            known = [score for score in scores if score is not None]
            if known and len(known) == len(scores):
                values = [
                    {ResultKey("", key): value for key, value in score.summary.items() if value is not None}
                    for score in known
                ]
                cells = {key.metric: cell for key, cell in over_seeds(values).items()}
                rows.append(SequenceRow(label(group.settings, keys), name, group, cells))
    if not rows:
        raise ValueError(f"model {model}: none of these sequences of tasks has one; choose another")
    return rows


def sequence_section(rows: Sequence[SequenceRow]) -> TableSection:
    """A table of the measures for each metric that scores are of, with a note that explains them."""
    has_teacher = len({row.model for row in rows}) > 1
    tables = []
    for metric in dict.fromkeys(row.group.sequences[0].record.declared for row in rows):
        selected = [row for row in rows if row.group.sequences[0].record.declared == metric]
        columns = [
            TableColumn(
                "",
                heading,
                [format_measurement(row.cells.get(name), metric, 1, "+" if name in SIGNED else "") for row in selected],
            )
            for name, heading in SUMMARIES.items()
        ]
        names = dict.fromkeys(str(row.group.sequences[0].record.name) for row in selected)
        unit = ", in percent" if metric.percent else ""
        labels = [(f"{row.label}, {row.model}" if has_teacher else row.label, _seeds(row)) for row in selected]
        tables.append(TextTable(f"{', '.join(names)}: sequences of tasks, {metric.title}{unit}", labels, columns))
    return TableSection(tables, [f"Mean ± standard deviation (n − 1) over n seeds. {NOTE}."])


def _seeds(row: SequenceRow) -> str:
    return str(len(row.group.sequences))


def sequences_csv(rows: Sequence[SequenceRow]) -> str:
    """CSV with a line for every row and measure: unrounded values."""
    keys = varied_keys([row.group.settings for row in rows])
    lines: list[list[Any]] = [["setting", *map(title, keys), "model", "n", "seeds", "metric", "measure", "mean", "std"]]
    for row in rows:
        seeds = sorted(sequence.seed for sequence in row.group.sequences if sequence.seed is not None)
        values = [row.group.settings.get(key) for key in keys]
        about = [row.label, *values, row.model, len(row.group.sequences), " ".join(map(str, seeds))]
        metric = row.group.sequences[0].record.headline
        lines += [[*about, metric, name, cell.mean, cell.std] for name, cell in row.cells.items()]
    return csv_text(lines)
