"""Writing a task as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.data.nas_bench_360.part import Part
from tracer_lightning.data.nas_bench_360.tasks import TASKS, Benchmark
from tracer_lightning.storage import atomic_folder


def convert(name: str, source: Path, out: Path, any_count: bool = False) -> dict[str, int]:
    """Write the splits of a task as ``.npy`` files to a new folder, for :class:`tracer_lightning.data.ArrayDataModule`.

    Args:
        name: a key of :data:`TASKS`.
        source: folder of the files that the benchmark's page links to.
        out: folder to write, which must not exist.
        any_count: whether splits may have other numbers of samples than the benchmark states.

    Returns:
        Numbers of samples by split.

    Raises:
        ValueError: a file is missing or damaged, or samples or their numbers are not those of the benchmark.
    """
    benchmark = TASKS[name]
    if out.exists():
        raise ValueError(f"{out} exists already; choose another place")
    parts = benchmark.read(source)
    for split, part in parts.items():
        expected = benchmark.counts.get(split, part.size)
        if not part.size or (part.size != expected and not any_count):
            raise ValueError(f"{source}: {split} must have {expected:,} samples, found {part.size:,}; download again")
    with atomic_folder(out) as folder:
        for split, part in parts.items():
            _write(folder, split, part, benchmark)
    return {split: part.size for split, part in parts.items()}


def _write(folder: Path, split: str, part: Part, benchmark: Benchmark) -> None:
    is_map, has_classes = len(benchmark.outputs) == 2, benchmark.task == "classification"
    target = () if has_classes else benchmark.outputs
    kind = np.int64 if has_classes else np.float32 if is_map else np.uint8
    x, y = (
        np.lib.format.open_memmap(folder / f"{split}_{axis}.npy", "w+", dtype, (part.size, *shape))
        for axis, dtype, shape in (("x", np.dtype(benchmark.dtype), benchmark.sample), ("y", np.dtype(kind), target))
    )
    for number in progress_bar(range(part.size), desc=split, unit="sample"):
        sample, value = part.read(number)
        shapes = (np.shape(sample), np.shape(value))
        if shapes != (benchmark.sample, target):
            raise ValueError(
                f"{split}, sample {number}: must have the shapes {benchmark.sample} and {target}, found {shapes[0]} "
                f"and {shapes[1]}"
            )
        if has_classes and not 0 <= value < benchmark.outputs[0]:
            raise ValueError(
                f"{split}, sample {number}: the class must be 0 to {benchmark.outputs[0] - 1}, found {value}"
            )
        x[number], y[number] = sample, value
