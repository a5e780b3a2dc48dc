"""Tasks with classes or with labels that may hold together, of files of arrays."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from tracer_lightning.data.nas_bench_360.part import (
    SEED,
    Part,
    Sample,
    entry,
    existing,
    hold_out,
    of_arrays,
    read_array,
    read_pickle,
)
from tracer_lightning.storage.plain_pickles import read_plain_pickle

VALIDATION = 0.1
"""Share of training samples that are held out where the benchmark has no number."""
WINDOW = 1000
"""Steps of an electrocardiogram that are one sample."""
STRIDES = {"N": 500, "A": 83, "O": 250, "~": 25}
"""Steps between the windows of a record of each class, as in the released code: rare classes have more windows."""


def read_cifar100(source: Path) -> dict[str, Part]:
    """CIFAR-100 in Python's format: ``cifar-100-python/train`` and ``test``."""
    parts = {}
    for split in ("train", "test"):
        path = source / "cifar-100-python" / split
        content = read_pickle(path)
        images = np.asarray(entry(content, "data", path)).reshape(-1, 3, 32, 32)
        parts[split] = of_arrays(images, np.asarray(entry(content, "fine_labels", path)), path)
    return {**hold_out(parts["train"], parts["train"].size // 5), "test": parts["test"]}


def read_spherical(source: Path) -> dict[str, Part]:
    """Images of CIFAR-100 on a sphere: ``s2_cifar100.gz``."""
    path = existing(source / "s2_cifar100.gz")
    with gzip.open(path) as file:
        content = read_plain_pickle(file, path)  # type: ignore[arg-type]
    parts = {}
    for split in ("train", "test"):
        part = entry(content, split, path)
        images, labels = (np.asarray(entry(part, key, path)) for key in ("images", "labels"))
        parts[split] = of_arrays(images, labels, path)
    return {**hold_out(parts["train"], parts["train"].size // 5), "test": parts["test"]}


def read_ninapro(source: Path) -> dict[str, Part]:
    """Electromyograms of hand movements: ``ninaPro/ninapro_{train,val,test}.npy`` and ``label_*.npy``."""
    folder, parts = source / "ninaPro", {}
    for split in ("train", "val", "test"):
        path = folder / f"ninapro_{split}.npy"
        samples = np.asarray(read_array(path), dtype=np.float32)  # (N, 52, 16)
        labels = np.asarray(read_array(folder / f"label_{split}.npy")).astype(np.int64)
        parts[split] = of_arrays(samples.transpose(0, 2, 1)[:, None], labels, path)
    return parts


def read_satellite(source: Path) -> dict[str, Part]:
    """Time series of land cover: ``satellite_train.npy`` and ``satellite_test.npy``, whose classes begin with 1."""
    parts = {}
    for split in ("train", "test"):
        path = source / f"satellite_{split}.npy"
        content = read_array(path)[()]
        samples = np.asarray(entry(content, "data", path), dtype=np.float32)[:, None]
        parts[split] = of_arrays(samples, np.asarray(entry(content, "label", path)).astype(np.int64) - 1, path)
    return {**hold_out(parts["train"], round(VALIDATION * parts["train"].size)), "test": parts["test"]}


def read_deepsea(source: Path) -> dict[str, Part]:
    """Chromatin features of DNA: ``deepsea_filtered.npz``."""
    path = existing(source / "deepsea_filtered.npz")
    with np.load(path, allow_pickle=False) as content:
        missing = [f"{axis}_{split}" for axis in "xy" for split in ("train", "val", "test")
                   if f"{axis}_{split}" not in content.files]  # fmt: skip
        if missing:
            raise ValueError(f"{path}: {missing[0]} is missing; found {', '.join(content.files[:9])}")
        return {
            split: of_arrays(content[f"x_{split}"].transpose(0, 2, 1), content[f"y_{split}"], path)
            for split in ("train", "val", "test")
        }


def read_ecg(source: Path) -> dict[str, Part]:
    """Electrocardiograms of PhysioNet's challenge of 2017: ``challenge2017.pkl``.

    Records are standardized, split 80 : 10 : 10 as in the released code, and then cut into windows, so that no record
    has windows in two splits.
    """
    from sklearn.model_selection import train_test_split  # which takes a second to import

    path = source / "challenge2017.pkl"
    content = read_pickle(path)
    records, names = entry(content, "data", path), np.asarray(entry(content, "label", path)).astype(str)
    unknown = sorted(set(names.tolist()) - STRIDES.keys())
    if unknown or len(records) != len(names):
        raise ValueError(f"{path}: each record must have one of the labels {', '.join(STRIDES)}, found {unknown[:1]}")
    rest, others = train_test_split(np.arange(len(names)), test_size=0.2, random_state=SEED)
    val, test = train_test_split(others, test_size=0.5, random_state=SEED)
    return {name: _windows(records, names, rows) for name, rows in (("train", rest), ("val", val), ("test", test))}


def _windows(records: np.ndarray, names: np.ndarray, rows: np.ndarray) -> Part:
    """Windows of the records at these positions."""
    codes = {name: number for number, name in enumerate(STRIDES)}
    places = [(int(row), start) for row in rows for start in range(0, len(records[row]) - WINDOW, STRIDES[names[row]])]
    scales = {int(row): (float(np.mean(records[row])), float(np.std(records[row])) or 1.0) for row in rows}

    def read(number: int) -> Sample:
        row, start = places[number]
        mean, std = scales[row]
        window = np.asarray(records[row][start : start + WINDOW], dtype=np.float32)
        return ((window - mean) / std)[None], codes[names[row]]

    return Part(len(places), read)
