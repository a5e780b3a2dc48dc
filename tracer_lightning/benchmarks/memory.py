"""The most memory that training takes, each setting in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from tracer_lightning.benchmarks.measuring import host_peak
from tracer_lightning.benchmarks.ours import collated, flyp, step_seconds, tracer
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.models import configure_compute, load_clip

MIB = 2**20


class MemoryOptions(NamedTuple):
    """One training run of three steps."""

    model: str
    """An open_clip architecture."""
    method: str
    """``flyp`` or ``tracer``."""
    batch_size: int
    gradient_checkpointing: bool
    micro_batch: int | None
    accelerator: str
    precision: str


def settings(
    batch_sizes: Sequence[int], micro_batch: int, model: str, accelerator: str, precision: str
) -> list[MemoryOptions]:
    """What is tabled: each batch size as it is, with each way to save memory, and with both."""
    return [
        MemoryOptions(model, method, size, checkpointing, part, accelerator, precision)
        for method in ("flyp", "tracer")
        for size in batch_sizes
        for checkpointing in (False, True)
        for part in ((None, micro_batch) if size > micro_batch else (None,))
    ]


def measure(options: MemoryOptions) -> dict[str, Any]:
    """Train three steps here: the process's peak in MiB, on a GPU that of its tensors, and seconds a step.

    The imports are within the peak of a process, and counted apart.
    """
    imported = _peak(options.accelerator)
    backbone = load_clip(options.model)
    configure_compute(backbone.model, options.gradient_checkpointing, micro_batch=options.micro_batch)
    module = {"flyp": flyp, "tracer": tracer}[options.method](backbone.model)
    batches = [collated(batch) for batch in random_batches(backbone.spec, options.batch_size, 3, options.accelerator)]
    seconds = step_seconds(module, batches, options.accelerator, options.precision)
    return {"peak": _peak(options.accelerator), "imports": imported, "seconds": statistics.median(seconds)}


def measure_apart(options: MemoryOptions) -> dict[str, Any]:
    """:func:`measure` in a process of its own.

    Returns:
        Its values and the options; ``peak`` is None where the process ended for want of memory.
    """
    command = [sys.executable, "-m", "tracer_lightning.benchmarks.memory", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True)
    found: dict[str, Any] = {"peak": None, "imports": None, "seconds": None}
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
    elif "OutOfMemoryError" not in done.stderr and done.returncode >= 0:
        raise RuntimeError(done.stderr)
    return {**options._asdict(), **found}


def _peak(accelerator: str) -> float:
    if accelerator == "gpu":
        return float(torch.cuda.max_memory_allocated()) / MIB
    return host_peak() / MIB


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(MemoryOptions(*json.loads(sys.argv[1])))) + "\n")
