"""Arrays in a ``.npz`` file or a folder of ``.npy`` files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tracer_lightning.data.arrays.datamodule import StandardizedDataModule
from tracer_lightning.data.arrays.splits import Split, chunks
from tracer_lightning.data.arrays.targets import CLASSIFICATION, Task, check_targets, check_task
from tracer_lightning.types import InputSpec

REQUIRED, OPTIONAL = ("train", "test"), ("val",)
"""Splits, each of which has an array of samples and one of labels."""
MOST_CLASSES = 100_000
"""Greatest number of classes: labels beyond are no class indices."""


class ArrayDataModule(StandardizedDataModule):
    """Data module of the arrays ``train_x``, ``train_y``, ``test_x``, ``test_y`` and perhaps ``val_x``, ``val_y``.

    Samples are (N, C, L) or (N, C, H, W), and labels (N,) whole numbers from 0 or, for other tasks than classification,
    the values to predict (:mod:`tracer_lightning.data.arrays.targets`).

    Args:
        spec: see :class:`StandardizedDataModule`.
        root: ``.npz`` file with arrays of these names, or folder with a ``.npy`` file for each, which are mapped into
            memory, so that they may be larger than it. Pickled objects are not loaded.
        texts: see :class:`StandardizedDataModule`; without ``classnames``, classes are called by their numbers.
        held_out: see :class:`StandardizedDataModule`.
        task: what ``y`` is: see :data:`tracer_lightning.data.arrays.targets.Task`.
        loading: see :class:`StandardizedDataModule`.
    """

    def __init__(
        self,
        spec: InputSpec,
        root: str,
        texts: Mapping[str, Sequence[str] | None],
        held_out: Mapping[str, float],
        task: Task = CLASSIFICATION,
        **loading: Any,
    ) -> None:
        check_task(task)
        path = Path(root)
        splits = read_splits(path, task)
        origins = {name: f"{path}: {name}_x" for name in splits}
        count = int(max(splits["train"].labels.max(initial=-1), 0)) + 1
        if count > MOST_CLASSES:
            raise ValueError(f"root={path}: train_y must be class indices from 0, found {count - 1}")
        names = [str(number) for number in range(count)]
        super().__init__(spec, path.stem, splits, origins, names, texts, held_out, task, **loading)


def read_splits(path: Path, task: Task = CLASSIFICATION) -> dict[str, Split]:
    """Read the splits of a file or folder.

    Args:
        path: ``.npz`` file, or folder of ``.npy`` files.
        task: what the labels are.

    Raises:
        ValueError: an array is missing, or is not of finite numbers, or of another number of axes.
    """
    arrays = _Arrays(path)
    present = [*REQUIRED, *(name for name in OPTIONAL if arrays.has(f"{name}_x") or arrays.has(f"{name}_y"))]
    return {name: arrays.split(name, task) for name in present}


def read_file(path: Path, where: str) -> np.ndarray:
    """The array of a ``.npy`` file, mapped into memory; ValueError that begins with ``where`` if it can't be."""
    with _naming(where):
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Raise what goes wrong in reading an array as a ValueError that begins with ``where``."""
    try:
        yield
    except Exception as error:  # forged files raise errors of many classes
        if any(word in str(error) for word in ("allow_pickle", "Python objects")):
            raise ValueError(
                f"{where} holds pickled objects, which are not loaded; save an array of numbers"
            ) from error
        raise ValueError(f"{where} can't be read ({_reason(error)})") from error


class _Arrays:
    """Arrays by name, checked when they are read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.exists():
            raise ValueError(f"root={path}: no such file or folder")
        self._is_folder = path.is_dir()
        if self._is_folder:
            self._names = {file.stem for file in path.glob("*.npy")}
            return
        try:
            with np.load(path, allow_pickle=False) as archive:
                self._names = set(archive.files)
        except Exception as error:  # forged files raise errors of many classes
            raise ValueError(
                f"root={path}: no .npz file of plain arrays, nor a folder of .npy files ({_reason(error)})"
            ) from error

    def has(self, name: str) -> bool:
        return name in self._names

    def _read(self, name: str) -> tuple[str, np.ndarray]:
        where = f"root={self._path}: {name}"
        if name not in self._names:
            listed = ", ".join(sorted(self._names)[:9]) or "no arrays"
            raise ValueError(f"{where} is missing; there must be {name}, found {listed}")
        if self._is_folder:
            return where, read_file(self._path / f"{name}.npy", where)
        with _naming(where), np.load(self._path, allow_pickle=False) as archive:
            return where, archive[name]

    def split(self, name: str, task: Task) -> Split:
        samples = self.samples(f"{name}_x")
        if task == CLASSIFICATION:
            return Split(samples, self.labels(f"{name}_y"))
        where, array = self._read(f"{name}_y")
        targets = check_targets(array, task, where)
        return Split(samples, np.zeros(len(targets), dtype=np.int64), targets)

    def samples(self, name: str) -> np.ndarray:
        """(N, C, L) or (N, C, H, W), float32 or, in a folder, numbers of any type that are mapped into memory."""
        where, array = self._read(name)
        if array.ndim not in (3, 4) or array.dtype.kind not in "fiu" or 0 in array.shape[1:]:
            raise ValueError(
                f"{where} must be (N, C, L) or (N, C, H, W) of finite numbers; found {array.shape}, {array.dtype}"
            )
        for start, chunk in chunks(array):
            with np.errstate(over="ignore"):  # of float64, which becomes infinite
                finite = np.isfinite(np.asarray(chunk, dtype=np.float32))
            if not finite.all():
                place = np.argwhere(~finite)[0] + (start, *[0] * (array.ndim - 1))
                raise ValueError(
                    f"{where} must be of finite numbers; sample {place[0]}, channel {place[1]} has "
                    f"{array[tuple(place)]}"
                )
        return array if self._is_folder else np.ascontiguousarray(array, dtype=np.float32)

    def labels(self, name: str) -> np.ndarray:
        """(N,) int64."""
        where, array = self._read(name)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"{where} must be (N,) class indices, whole numbers from 0; found {array.shape}, {array.dtype}"
            )
        return array.astype(np.int64)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:100]
