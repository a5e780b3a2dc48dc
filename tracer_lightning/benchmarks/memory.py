"""Benchmark of the peak memory of training, with a separate process for each setting."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from tracer_lightning.benchmarks.measuring import host_peak
from tracer_lightning.benchmarks.ours import collate, flyp, step_seconds, tracer
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.models import configure_compute, load_clip

MIB = 2**20


class MemoryOptions(NamedTuple):
    """Options of a training run of three steps."""

    model: str
    """Name of an open_clip architecture."""
    method: str
    """Name of the method, ``flyp`` or ``tracer``."""
    batch_size: int
    gradient_checkpointing: bool
    micro_batch: int | None
    accelerator: str
    precision: str


def settings(
    batch_sizes: Sequence[int], micro_batch: int, model: str, accelerator: str, precision: str
) -> list[MemoryOptions]:
    """Settings of the table: each batch size plain, with each way to save memory, and with both."""
    return [
        MemoryOptions(model, method, size, checkpointing, part, accelerator, precision)
        for method in ("flyp", "tracer")
        for size in batch_sizes
        for checkpointing in (False, True)
        for part in ((None, micro_batch) if size > micro_batch else (None,))
    ]


def measure(options: MemoryOptions) -> dict[str, Any]:
    """Train three steps in this process and measure its peak in MiB (of tensors, on a GPU) and the seconds per step.

    The process's peak includes the imports, which are also reported separately.
    """
    imported = _peak(options.accelerator)
    backbone = load_clip(options.model)
    configure_compute(backbone.model, options.gradient_checkpointing, micro_batch=options.micro_batch)
    module = {"flyp": flyp, "tracer": tracer}[options.method](backbone.model)
    batches = [collate(batch) for batch in random_batches(backbone.spec, options.batch_size, 3, options.accelerator)]
    seconds = step_seconds(module, batches, options.accelerator, options.precision)
    return {"peak": _peak(options.accelerator), "imports": imported, "seconds": statistics.median(seconds)}


def measure_in_subprocess(options: MemoryOptions) -> dict[str, Any]:
    """Run :func:`measure` in a new process.

    Returns:
        The measured values and the options; ``peak`` is None if the process ran out of memory.
    """
    command = [sys.executable, "-m", "tracer_lightning.benchmarks.memory", json.dumps(options)]
    process = subprocess.run(command, capture_output=True, text=True)
    values: dict[str, Any] = {"peak": None, "imports": None, "seconds": None}
    if process.returncode == 0:
        values = json.loads(process.stdout.splitlines()[-1])
    elif "OutOfMemoryError" not in process.stderr and process.returncode >= 0:
        raise RuntimeError(process.stderr)
    return {**options._asdict(), **values}


def _peak(accelerator: str) -> float:
    if accelerator == "gpu":
        return float(torch.cuda.max_memory_allocated()) / MIB
    return host_peak() / MIB


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(MemoryOptions(*json.loads(sys.argv[1])))) + "\n")
