"""Time and memory of work that is done in turn, and what of them is told."""

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
"""Bytes in which the system counts the memory of a process."""
RESET_PEAK = Path("/proc/self/clear_refs"), "5"
"""What Linux forgets the peak by."""
STATUS = Path("/proc/self/status")
"""Where Linux tells the peak; ``getrusage`` of a young process may tell that of its parent."""
PROCESSOR = Path("/proc/cpuinfo")


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes, the device's part included."""
    start = now()
    work()
    return now() - start


class Turns(NamedTuple):
    """What all took, by name."""

    seconds: dict[str, list[float]]
    """Of each round."""
    peaks: dict[str, dict[str, int]]
    """Peak bytes, of the round that is not counted; see :func:`peak_memory`."""


def in_turn(
    entered: Mapping[str, Callable[[], Any]], rounds: int, takes: Callable[[Callable[[], Any]], float] = seconds
) -> Turns:
    """Do each in each round, one after the other, forth and back, after a round whose time is not counted.

    Args:
        entered: work by name.
        rounds: that are counted.
        takes: does a work, and returns its seconds.
    """
    peaks = {name: peak_memory(work) for name, work in shown(entered.items(), "first round, not counted")}
    orders = itertools.cycle([list(entered), list(entered)[::-1]])
    found = [{name: takes(entered[name]) for name in next(orders)} for _ in shown(range(rounds), "rounds")]
    return Turns({name: [one[name] for one in found] for name in entered}, peaks)


def median_of(work: Callable[[], Sequence[float]]) -> float:
    """Of the seconds that a work returns."""
    return statistics.median(work())


def shown(items: Collection[T], title: str) -> Iterable[T]:
    """One after the other, with a progress bar where errors go to a terminal."""
    console = Console(stderr=True)
    return track(items, title, console=console, transient=True, refresh_per_second=1, disable=not console.is_terminal)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Their median and range."""
    return {"median": statistics.median(values), "range": [min(values), max(values)]}


def ratio(ones: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Median and range of the ratios pair by pair."""
    return spread([one / other for one, other in zip(ones, others, strict=True)])


def host_peak() -> int:
    """Bytes that the process had at most, without its children."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def peak_memory(work: Callable[[], Any]) -> dict[str, int]:
    """Peak bytes while it is done: of the whole process on the ``host``, without loading processes, and on the ``gpu``.

    Where the system can't forget the peak (it is not Linux), that of the host is the peak so far.
    """
    with contextlib.suppress(OSError):
        RESET_PEAK[0].write_text(RESET_PEAK[1])
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    work()
    found = {"host": host_peak()}
    return found | ({"gpu": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


def processor() -> str:
    """Its name, where the system tells."""
    lines = PROCESSOR.read_text().splitlines() if PROCESSOR.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What is measured on, with what, and when."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "date": date.today().isoformat(),
        "versions": versions(),
    }


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """What was found, and on what."""
    write_text(path, json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
