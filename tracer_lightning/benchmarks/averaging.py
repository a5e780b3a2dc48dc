"""The teacher's update, against a naive loop and the machine's memory."""

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
"""Of the paper's run."""
WEIGHT = 0.01
INTERVALS = (1, 10, 500)
"""Steps between updates, of the paper's Table 10."""
OURS, NAIVE, COPY = "our update", "naive loop", "copy"
QUEUED = 100
"""Copies that a GPU is given first."""


class TeacherOptions(NamedTuple):
    """What is measured."""

    model: str
    """An open_clip architecture, with random weights."""
    rounds: int
    accelerator: str


@torch.no_grad()
def naive_update(averages: Sequence[Tensor], values: Sequence[Tensor], weight: float) -> None:
    """Reference: tensor by tensor, with the whole weight of the past as 1 and no compensation."""
    for average, value in zip(averages, values, strict=True):
        average.copy_((average + weight * value) / (1 + weight))


@torch.no_grad()
def copy_all(averages: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Reference: what the memory allows."""
    torch._foreach_copy_(list(averages), list(values))


def traffic(teacher: WMATeacher) -> dict[str, int]:
    """Bytes that must be read and written once: two and one of the average for each, one and one for a copy.

    Compensated tensors have the compensation read and written, too.
    """
    averages = {name: teacher.module.get_parameter(name) for name in teacher.trained}
    sizes = {name: average.numel() * average.element_size() for name, average in averages.items()}
    compensated = sum(sizes[name] for name, average in averages.items() if average.ndim < 2)
    return {OURS: 3 * sum(sizes.values()) + 2 * compensated, COPY: 2 * sum(sizes.values())}


def behind(filler: Callable[[], Any], work: Callable[[], Any]) -> float:
    """Seconds of the GPU alone: it is kept busy meanwhile, as in training, so that it never waits for the host."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    filler()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _entered(teacher: WMATeacher, student: torch.nn.Module) -> dict[str, Callable[[], Any]]:
    parameters = dict(student.named_parameters())
    values = [parameters[name].detach() for name in teacher.trained]
    averages = [teacher.module.get_parameter(name).detach() for name in teacher.trained]
    return {
        OURS: lambda: teacher.update(student),
        NAIVE: lambda: naive_update(averages, values, WEIGHT),
        COPY: lambda: copy_all(averages, values),
    }


def _gpu_seconds(entered: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    def filler() -> None:
        for _ in range(QUEUED):
            entered[COPY]()

    found = [{name: behind(filler, work) for name, work in entered.items()} for _ in range(rounds)]
    return {name: [one[name] for one in found] for name in entered}


def measure(options: TeacherOptions) -> dict[str, Any]:
    """Seconds of each, bytes a second, and how ours compares."""
    torch.manual_seed(0)
    gpu = options.accelerator == "gpu"
    student = load_clip(options.model).model.to("cuda" if gpu else "cpu")
    teacher = WMATeacher(student, BetaKernel(0.5), TOTAL_STEPS)
    entered = _entered(teacher, student)
    alone, peaks = in_turn(entered, options.rounds)
    taken = _gpu_seconds(entered, options.rounds) if gpu else alone
    moved = traffic(teacher)
    rates = {name: [moved[name] / value for value in taken[name]] for name in moved}
    median = statistics.median(taken[OURS])
    return {
        "options": options._asdict(),
        "tensors": len(teacher.trained),
        "parameters": sum(teacher.module.get_parameter(name).numel() for name in teacher.trained),
        "bytes": moved,
        "seconds": {name: spread(values) for name, values in taken.items()},
        "seconds waited for": {name: spread(values) for name, values in alone.items()},
        "bytes per second": {name: spread(values) for name, values in rates.items()},
        "share of the copy's bandwidth": ratio(rates[OURS], rates[COPY]),
        "naive loop / our update": ratio(taken[NAIVE], taken[OURS]),
        "seconds per step": {str(every): median / every for every in INTERVALS},
        "peak memory": peaks,
        "rounds": taken,
    }
