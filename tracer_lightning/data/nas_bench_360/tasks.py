"""What the ten tasks are, and how the benchmark's files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tracer_lightning.data.arrays.targets import Task
from tracer_lightning.data.nas_bench_360.audio import read_fsd50k
from tracer_lightning.data.nas_bench_360.classes import (
    read_cifar100,
    read_deepsea,
    read_ecg,
    read_ninapro,
    read_satellite,
    read_spherical,
)
from tracer_lightning.data.nas_bench_360.maps import read_cosmic, read_darcy, read_psicov
from tracer_lightning.data.nas_bench_360.part import Part


class Benchmark(NamedTuple):
    """One task."""

    task: Task
    """What is predicted."""
    sample: tuple[int, ...]
    """(C, L) or (C, H, W) of each sample."""
    outputs: tuple[int, ...]
    """Number of classes or labels, or (H, W) of the map that is predicted."""
    counts: Mapping[str, int]
    """Numbers of samples of the splits, where the benchmark states them."""
    dtype: str
    """NumPy's type of the samples on disk."""
    read: Callable[[Path], dict[str, Part]]
    """From the folder of the benchmark's files to the splits ``train``, ``val`` and ``test``."""


IMAGES = {"train": 40_000, "val": 10_000, "test": 10_000}
TASKS: dict[str, Benchmark] = {
    "cifar100": Benchmark("classification", (3, 32, 32), (100,), IMAGES, "u1", read_cifar100),
    "spherical": Benchmark("classification", (3, 60, 60), (100,), IMAGES, "u1", read_spherical),
    "ninapro": Benchmark(
        *("classification", (1, 16, 52), (18,), {"train": 2638, "val": 659, "test": 659}), "f4", read_ninapro
    ),
    "fsd50k": Benchmark("multilabel", (1, 96, 102), (200,), {}, "f4", read_fsd50k),
    "darcy": Benchmark("dense", (3, 85, 85), (85, 85), {"train": 900, "val": 100, "test": 100}, "f4", read_darcy),
    "psicov": Benchmark("dense", (57, 512, 512), (512, 512), {}, "f2", read_psicov),
    "cosmic": Benchmark("mask", (1, 128, 128), (128, 128), {}, "f4", read_cosmic),
    "ecg": Benchmark("classification", (1, 1000), (4,), {}, "f4", read_ecg),
    "satellite": Benchmark("classification", (1, 46), (24,), {}, "f4", read_satellite),
    "deepsea": Benchmark("multilabel", (4, 1000), (36,), {"val": 2490, "test": 149_400}, "u1", read_deepsea),
}
"""The tasks by name."""
