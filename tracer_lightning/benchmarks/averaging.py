"""Benchmark of the teacher's update against a naive loop and the memory bandwidth."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tracer_lightning.benchmarks.measuring import in_turn, ratio, spread
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.models import load_clip
from tracer_lightning.teachers import WMATeacher

TOTAL_STEPS = 25_000
"""Number of optimizer steps of the paper's run."""
WEIGHT = 0.01
INTERVALS = (1, 10, 500)
"""Numbers of steps between updates in the paper's Table 10."""
OURS, NAIVE, COPY = "our update", "naive loop", "copy"
QUEUED = 100
"""Number of copies that keep the GPU busy before a measurement."""


class TeacherOptions(NamedTuple):
    """Options of the benchmark."""

    model: str
    """Name of an open_clip architecture, which gets random weights."""
    rounds: int
    accelerator: str


@torch.no_grad()
def naive_update(averages: Sequence[Tensor], values: Sequence[Tensor], weight: float) -> None:
    """Reference: update tensor by tensor, with a weight of 1 for the past and without compensation."""
    for average, value in zip(averages, values, strict=True):
        average.copy_((average + weight * value) / (1 + weight))


@torch.no_grad()
def copy_all(averages: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Reference: copy all tensors, which is limited by the memory bandwidth."""
    torch._foreach_copy_(list(averages), list(values))


def traffic(teacher: WMATeacher) -> dict[str, int]:
    """Bytes that an update or a copy must read and write.

    An update reads two tensors and writes one for each average; for compensated tensors it also reads and writes the
    compensation. A copy reads and writes one tensor.
    """
    averages = {name: teacher.module.get_parameter(name) for name in teacher.trained}
    sizes = {name: average.numel() * average.element_size() for name, average in averages.items()}
    compensated = sum(sizes[name] for name, average in averages.items() if average.ndim < 2)
    return {OURS: 3 * sum(sizes.values()) + 2 * compensated, COPY: 2 * sum(sizes.values())}


def gpu_seconds(filler: Callable[[], Any], work: Callable[[], Any]) -> float:
    """Seconds of the GPU alone; ``filler`` keeps it busy before, as training does, so that it need not wait."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    filler()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _candidates(teacher: WMATeacher, student: torch.nn.Module) -> dict[str, Callable[[], Any]]:
    parameters = dict(student.named_parameters())
    values = [parameters[name].detach() for name in teacher.trained]
    averages = [teacher.module.get_parameter(name).detach() for name in teacher.trained]
    return {
        OURS: lambda: teacher.update(student),
        NAIVE: lambda: naive_update(averages, values, WEIGHT),
        COPY: lambda: copy_all(averages, values),
    }


def _gpu_rounds(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    def filler() -> None:
        for _ in range(QUEUED):
            candidates[COPY]()

    results = [{name: gpu_seconds(filler, work) for name, work in candidates.items()} for _ in range(rounds)]
    return {name: [result[name] for result in results] for name in candidates}


def measure(options: TeacherOptions) -> dict[str, Any]:
    """Measure the seconds and bytes per second of each update, and the ratios to ours."""
    torch.manual_seed(0)
    gpu = options.accelerator == "gpu"
    student = load_clip(options.model).model.to("cuda" if gpu else "cpu")
    teacher = WMATeacher(student, BetaKernel(0.5), TOTAL_STEPS)
    candidates = _candidates(teacher, student)
    waited, peaks = in_turn(candidates, options.rounds)
    seconds = _gpu_rounds(candidates, options.rounds) if gpu else waited
    moved_bytes = traffic(teacher)
    rates = {name: [moved_bytes[name] / value for value in seconds[name]] for name in moved_bytes}
    median = statistics.median(seconds[OURS])
    return {
        "options": options._asdict(),
        "tensors": len(teacher.trained),
        "parameters": sum(teacher.module.get_parameter(name).numel() for name in teacher.trained),
        "bytes": moved_bytes,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "seconds waited for": {name: spread(values) for name, values in waited.items()},
        "bytes per second": {name: spread(values) for name, values in rates.items()},
        "share of the copy's bandwidth": ratio(rates[OURS], rates[COPY]),
        "naive loop / our update": ratio(seconds[NAIVE], seconds[OURS]),
        "seconds per step": {str(every): median / every for every in INTERVALS},
        "peak memory": peaks,
        "rounds": seconds,
    }
