"""Measure and summarise time and memory of functions that are called in turn."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import resource
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from rich.console import Console
from rich.progress import track

from tracer_lightning.benchmarks.ours import now
from tracer_lightning.reporting.versions import versions
from tracer_lightning.storage import write_text

T = TypeVar("T")
UNIT = 1 if sys.platform == "darwin" else 1024
"""Unit in bytes in which the system reports the memory of a process."""
RESET_PEAK = Path("/proc/self/clear_refs"), "5"
"""File and text with which Linux resets the peak memory of a process."""
STATUS = Path("/proc/self/status")
"""File in which Linux reports the peak memory; ``getrusage`` of a new process may report that of its parent."""
CPU_INFO = Path("/proc/cpuinfo")


def seconds(work: Callable[[], Any]) -> float:
    """Seconds that a function takes, including its work on the device."""
    start = now()
    work()
    return now() - start


class Turns(NamedTuple):
    """Time and memory of functions by name."""

    seconds: dict[str, list[float]]
    """Seconds of each round."""
    peaks: dict[str, dict[str, int]]
    """Peak bytes of the warm-up round; see :func:`peak_memory`."""


def in_turn(
    candidates: Mapping[str, Callable[[], Any]], rounds: int, time: Callable[[Callable[[], Any]], float] = seconds
) -> Turns:
    """Call all functions in turn, in alternating order, after a warm-up round.

    Args:
        candidates: functions by name.
        rounds: number of measured rounds.
        time: calls a function and returns its seconds.
    """
    peaks = {name: peak_memory(work) for name, work in with_progress(candidates.items(), "first round, not counted")}
    orders = itertools.cycle([list(candidates), list(candidates)[::-1]])
    results = [{name: time(candidates[name]) for name in next(orders)} for _ in with_progress(range(rounds), "rounds")]
    return Turns({name: [result[name] for result in results] for name in candidates}, peaks)


def median_of(work: Callable[[], Sequence[float]]) -> float:
    """Median of the seconds that a function returns."""
    return statistics.median(work())


def with_progress(items: Collection[T], title: str) -> Iterable[T]:
    """Iterate over items, with a progress bar if standard error is a terminal."""
    console = Console(stderr=True)
    return track(items, title, console=console, transient=True, refresh_per_second=1, disable=not console.is_terminal)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and range of values."""
    return {"median": statistics.median(values), "range": [min(values), max(values)]}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, Any]:
    """Median and range of the ratios of pairs of values."""
    return spread([x / y for x, y in zip(numerators, denominators, strict=True)])


def host_peak() -> int:
    """Peak memory of the process in bytes, without its children."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def peak_memory(work: Callable[[], Any]) -> dict[str, int]:
    """Peak bytes while a function runs: of this process on the ``host``, without workers, and on the ``gpu``.

    On systems other than Linux, which cannot reset the peak, that of the host is the peak so far.
    """
    with contextlib.suppress(OSError):
        RESET_PEAK[0].write_text(RESET_PEAK[1])
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    work()
    peaks = {"host": host_peak()}
    return peaks | ({"gpu": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


def cpu_name() -> str:
    """Name of the CPU, as far as the system reports it."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Hardware, software and date of a measurement."""
    return {
        "processor": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": date.today().isoformat(),
        "versions": versions(),
    }


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Write results and :func:`machine` as JSON."""
    write_text(path, json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
