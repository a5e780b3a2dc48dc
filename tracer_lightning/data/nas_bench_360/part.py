"""Samples of one split of a task, read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tracer_lightning.storage.plain_pickles import read_plain_array, read_plain_pickle

SEED = 0
"""Seed of validation samples, and of what is drawn of each sample."""
Sample = tuple[Any, Any]
"""Array (C, L) or (C, H, W), and its class or values."""


class Part(NamedTuple):
    """Samples of one split."""

    size: int
    read: Callable[[int], Sample]
    """From a position to a sample."""

    def take(self, rows: Sequence[int] | np.ndarray) -> Part:
        """The samples at these positions."""
        return Part(len(rows), lambda number: self.read(int(rows[number])))


def of_arrays(samples: np.ndarray, targets: np.ndarray, where: Path) -> Part:
    """Part of arrays in memory; ValueError where their lengths differ."""
    if len(samples) != len(targets):
        raise ValueError(f"{where}: there must be a label for each of {len(samples)} samples, found {len(targets)}")
    return Part(len(samples), lambda number: (samples[number], targets[number]))


def hold_out(train: Part, count: int) -> dict[str, Part]:
    """Splits ``train`` and ``val`` of a training split, disjoint; ``count`` samples are held out at random."""
    if not 0 < count < train.size:
        raise ValueError(f"there must be more than {count} training samples, of which so many are held out, found "
                         f"{train.size}")  # fmt: skip
    order = np.random.default_rng(SEED).permutation(train.size)
    return {"train": train.take(np.sort(order[count:])), "val": train.take(np.sort(order[:count]))}


def existing(path: Path) -> Path:
    """The path; ValueError where there is no such file."""
    if not path.is_file():
        raise ValueError(f"{path} is missing; give the folder that holds it")
    return path


def read_pickle(path: Path) -> Any:
    """Plain values and arrays of a pickle, without executing anything."""
    with existing(path).open("rb") as file:
        return read_plain_pickle(file, path)


def read_array(path: Path) -> np.ndarray:
    """Array of a ``.npy`` file, also of pickled plain values, without executing anything."""
    return read_plain_array(existing(path))


def entry(content: Any, key: str, where: Path) -> Any:
    """Entry of a dictionary, whose keys may be bytes; ValueError where it has none."""
    for name in (key, key.encode()):
        if isinstance(content, dict) and name in content:
            return content[name]
    raise ValueError(f"{where}: must be a dictionary with {key!r}")
