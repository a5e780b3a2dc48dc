"""Time series in ``.ts`` files, the format of the UCR and UEA archives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tracer_lightning.data.arrays.datamodule import StandardizedDataModule
from tracer_lightning.data.arrays.splits import Split
from tracer_lightning.data.arrays.targets import CLASSIFICATION, Task, check_targets, check_task
from tracer_lightning.data.images.names import group_name
from tracer_lightning.storage import check_relative
from tracer_lightning.types import InputSpec

LIBRARY = "sktime"
"""Library whose installation contains several data sets; only its files are read."""
SPLITS = {"train": "TRAIN", "test": "TEST"}
TASKS: tuple[Task, Task] = (CLASSIFICATION, "regression")


class SeriesFile(NamedTuple):
    """Content of a ``.ts`` file."""

    series: list[np.ndarray]
    """Series (C, L) float32, whose lengths L may differ."""
    labels: list[str]
    """Name of the class of each series."""
    classes: list[str]
    """Names of the classes that the header lists; empty where it lists none."""
    has_values: bool
    """Whether labels are values to predict in place of names of classes."""


class SeriesDataModule(StandardizedDataModule):
    """Data module of a data set in the layout of the UCR and UEA archives, ``root/NAME/NAME_{TRAIN,TEST}.ts``.

    Series that are shorter than the longest one of either file are filled with zeros, the mean of the training series.

    Args:
        spec: see :class:`StandardizedDataModule`.
        root: folder of the archive; None for that within the installed library sktime.
        name: name of the data set.
        texts: see :class:`StandardizedDataModule`; without ``classnames``, those of the files.
        held_out: see :class:`StandardizedDataModule`.
        task: ``classification`` or ``regression``, whichever the files are of.
        loading: see :class:`StandardizedDataModule`.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str | None,
        name: str,
        texts: Mapping[str, Sequence[str] | None],
        held_out: Mapping[str, float],
        task: Task = CLASSIFICATION,
        **loading: Any,
    ) -> None:
        check_task(task, TASKS)
        folder = (embedded_archive() if root is None else Path(root)) / check_relative(name)
        paths = {split: folder / f"{name}_{suffix}.ts" for split, suffix in SPLITS.items()}
        for path in paths.values():
            if not path.is_file():
                raise ValueError(f"name={name}: {path} is missing; {_listed(folder.parent)}")
        files = {split: read_series(path) for split, path in paths.items()}
        for split, file in files.items():
            if file.has_values != (task != CLASSIFICATION):
                content, fitting = ("values to predict", TASKS[1]) if file.has_values else ("classes", TASKS[0])
                raise ValueError(f"task must be {fitting} for {paths[split]}, which has {content}; got {task}")
        classes = files["train"].classes or sorted(set(files["train"].labels))
        splits = _padded(files, paths, classes)
        origins = {split: str(path) for split, path in paths.items()}
        super().__init__(spec, name, splits, origins, classes, texts, held_out, task, **loading)


def embedded_archive() -> Path:
    """Folder of the data sets that sktime's installation contains, found without importing it.

    Raises:
        ValueError: it is not installed.
    """
    library = find_spec(LIBRARY)
    if library is None or library.origin is None:
        raise ValueError(
            f"root is None, and {LIBRARY}, which contains data sets, is not installed: "
            "pip install 'tracer-lightning[cross]', or give the folder of an archive"
        )
    return Path(library.origin).parent / "datasets" / "data"


def _listed(folder: Path) -> str:
    names = sorted(path.name for path in folder.glob("*") if (path / f"{path.name}_TRAIN.ts").is_file())
    return f"{folder} has {', '.join(names[:20])}" if names else f"{folder} has no data sets NAME/NAME_TRAIN.ts"


def read_series(path: Path) -> SeriesFile:
    """Read a ``.ts`` file: a line a series, whose channels are separated by colons, with the class at the end.

    Raises:
        ValueError: a line is no series of finite numbers, or of another number of channels than the first.
    """
    series: list[np.ndarray] = []
    labels: list[str] = []
    classes: list[str] = []
    has_values = False
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        if not words or words[0][0] in "#@":
            if words and words[0].lower() == "@classlabel":
                classes = words[2:]
            has_values = has_values or [word.lower() for word in words] == ["@targetlabel", "true"]
            continue
        *channels, label = line.strip().split(":")
        where = f"{path}: line {number}"
        try:
            values = np.array([[float(value) for value in channel.split(",")] for channel in channels], np.float32)
        except ValueError as error:
            raise ValueError(
                f"{where} must be channels of equally many numbers, separated by colons, and a class, without missing "
                "values or time stamps"
            ) from error
        if values.ndim != 2 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"{where} must have one or more channels of finite numbers before the class")
        if series and len(values) != len(series[0]):
            raise ValueError(f"{where} must have {len(series[0])} channels, as the first series, found {len(values)}")
        series.append(values)
        labels.append(label.strip())
    if not series:
        raise ValueError(f"{path} has no series")
    return SeriesFile(series, labels, classes, has_values)


def _padded(files: Mapping[str, SeriesFile], paths: Mapping[str, Path], classes: Sequence[str]) -> dict[str, Split]:
    """Splits of series of one length, with NaN behind the ends of shorter ones."""
    longest = max(values.shape[1] for file in files.values() for values in file.series)
    numbers = {name: number for number, name in enumerate(classes)}
    splits = {}
    for split, file in files.items():
        samples = np.full((len(file.series), len(file.series[0]), longest), math.nan, dtype=np.float32)
        for row, values in zip(samples, file.series, strict=True):
            row[:, : values.shape[1]] = values
        if file.has_values:
            targets = _values(file.labels, paths[split])
            splits[split] = Split(samples, np.zeros(len(targets), dtype=np.int64), targets)
            continue
        unknown = sorted(set(file.labels) - numbers.keys())
        if unknown:
            raise ValueError(f"{paths[split]} has the class {unknown[0]!r}, which is none of {group_name(classes)}")
        splits[split] = Split(samples, np.array([numbers[label] for label in file.labels], dtype=np.int64))
    return splits


def _values(labels: Sequence[str], path: Path) -> np.ndarray:
    """(N, 1) values to predict."""
    try:
        values = np.array([float(label) for label in labels])
    except ValueError as error:
        raise ValueError(f"{path}: the value to predict at the end of each line must be a number ({error})") from error
    return check_targets(values, TASKS[1], str(path))
