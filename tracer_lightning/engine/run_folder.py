"""A run's folder: names of its files, its checkpoints, and its lock."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.storage import remove_stale, write_text
from tracer_lightning.storage.checkpoints import is_intact
from tracer_lightning.storage.run_layout import (
    ALIGNMENT,
    ALIGNMENT_LOG,
    CHECKPOINT,
    CHECKPOINTS,
    CLASSES,
    CONFIG,
    CONTINUAL,
    DETAILS,
    GRID_FIGURES,
    HANDED_ON,
    LAST,
    LOG,
    METRICS,
    NEXT,
    PREREQUISITE_LOCK,
    PREVIOUS,
    REPORT,
    RESULTS,
    RUN_LOCK,
    SEQUENCE,
)

__all__ = [
    "ALIGNMENT",
    "ALIGNMENT_LOG",
    "CHECKPOINT",
    "CHECKPOINTS",
    "CLASSES",
    "CONFIG",
    "CONTINUAL",
    "DETAILS",
    "GRID_FIGURES",
    "HANDED_ON",
    "LAST",
    "LOG",
    "METRICS",
    "NEXT",
    "PREREQUISITE_LOCK",
    "PREVIOUS",
    "REPORT",
    "RESULTS",
    "RUN_LOCK",
    "SEQUENCE",
    "is_finished",
    "list_checkpoints",
    "lock_run_dir",
    "newest_intact_checkpoint",
    "results_beside",
    "wait_until",
    "write_json",
]
CHECK_INTERVAL = 60
"""Number of seconds between checks of whether a process that others wait for is still alive."""


def is_finished(folder: Path) -> bool:
    """Whether the run in the folder has written its results."""
    return (folder / RESULTS).exists()


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints of the run in the folder, the newest first."""
    checkpoints = folder / CHECKPOINTS
    return [path for path in (checkpoints / LAST, checkpoints / PREVIOUS) if path.exists()]


def newest_intact_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of the run in the folder that is not damaged.

    Raises:
        ValueError: all of them are damaged.
    """
    checkpoints = list_checkpoints(folder)
    for path in checkpoints:
        if is_intact(path):
            if path.name == PREVIOUS:
                print_rank_zero(f"warning: {folder / CHECKPOINT} is damaged or missing; the one before it is used")
            return path
    raise ValueError(
        f"{' and '.join(map(str, checkpoints))} {'is' if len(checkpoints) == 1 else 'are'} damaged; delete the "
        "checkpoints to start anew"
    )


def results_beside(checkpoint: Path) -> Path | None:
    """The file of results of the run that a checkpoint belongs to; None where it is in no run's folder."""
    results = checkpoint.absolute().parent.parent / RESULTS
    return results if results.is_file() else None


@contextmanager
def lock_run_dir(folder: Path, anew: bool) -> Iterator[None]:
    """Keep other runs out of the folder while this one writes there.

    Unfinished files of an earlier run are removed and, where this run begins ``anew``, its results, too.

    Raises:
        ValueError: another process writes in the folder.
    """
    if getattr(rank_zero_only, "rank", 0) != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / RUN_LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another process writes in {folder}; give this run a name of its own") from None
    try:
        for directory in (folder, folder / CHECKPOINTS):
            remove_stale(directory)
        outdated = [f"{CHECKPOINTS}/{NEXT}", *((RESULTS, DETAILS, CLASSES) if anew else ())]
        for name in outdated:
            (folder / name).unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def wait_until(is_ready: Callable[[], bool], lock: Path, failure: str) -> None:
    """Wait for a process that holds a lock while it works.

    Args:
        is_ready: whether its work is done.
        lock: file of the lock.
        failure: message for a process that has ended before.

    Raises:
        ValueError: that process has ended, and its work is not done.
    """
    seconds = 0
    while not is_ready():
        time.sleep(1.0)
        seconds += 1
        if seconds % CHECK_INTERVAL == 0:
            try:
                with FileLock(lock, timeout=0):
                    has_failed = not is_ready()
            except Timeout:
                continue
            if has_failed:
                raise ValueError(failure)


def write_json(path: Path, content: Any, indent: int | None = 2) -> None:
    """Write JSON atomically; numbers that are NaN or infinite, such as scores of a diverged model, become null."""
    write_text(path, json.dumps(_without_nonfinite(content), indent=indent, allow_nan=False) + "\n")


def _without_nonfinite(content: Any) -> Any:
    """The content with None in place of numbers that JSON does not have."""
    if isinstance(content, Mapping):
        return {key: _without_nonfinite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nonfinite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
