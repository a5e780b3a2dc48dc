"""Experiments that others start from: trained once, cached, and checked (``config/prerequisite.py`` composes them)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.run_folder import (
    CHECKPOINT,
    CHECKPOINTS,
    PREREQUISITE_LOCK,
    RESULTS,
    is_finished,
    wait_until,
)
from tracer_lightning.reporting.results_file import read_results


def ensure_prerequisite(folder: Path, name: str, min_accuracy: float | None, train: Callable[[bool], object]) -> Path:
    """The checkpoint of a prerequisite, trained now if it is not cached; the other ranks wait for rank 0.

    Args:
        folder: folder of the prerequisite, named by its settings.
        name: name of its experiment, for messages.
        min_accuracy: least mean accuracy that it must reach.
        train: trains it in the folder; its argument says whether an interrupted training is continued.

    Raises:
        ValueError: its mean accuracy is below ``min_accuracy``, its training has failed, or its files are damaged.
    """
    if getattr(rank_zero_only, "rank", 0) == 0 and not is_finished(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / PREREQUISITE_LOCK):
            if not is_finished(folder):
                is_begun = any((folder / CHECKPOINTS).glob("*.ckpt"))
                train(is_begun)
    wait_until_finished(folder)
    _check_accuracy(folder, name, min_accuracy)
    if not (folder / CHECKPOINT).is_file():
        raise ValueError(f"prerequisite: {folder} has lost its checkpoint; delete the folder to train again")
    return folder / CHECKPOINT


def wait_until_finished(folder: Path) -> None:
    """Wait for the process that trains the prerequisite in the folder.

    Raises:
        ValueError: that process has ended without results.
    """
    failure = f"prerequisite: the process that trained {folder} has ended without results"
    wait_until(lambda: is_finished(folder), folder / PREREQUISITE_LOCK, failure)


def _check_accuracy(folder: Path, name: str, min_accuracy: float | None) -> None:
    try:
        scores: Any = read_results(folder / RESULTS).student
        by_set = [values["accuracy"] for values in scores.values() if "sets" not in values]
        accuracies = [float(accuracy) for accuracy in by_set if accuracy is not None]
        mean = sum(accuracies) / len(accuracies)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"prerequisite: {folder / RESULTS} is not a valid file of a run; delete the folder to repeat it"
        ) from error
    if min_accuracy is not None and mean < min_accuracy:
        raise ValueError(
            f"prerequisite: {name} reached a mean accuracy of {mean:.3f}, below its min_accuracy of {min_accuracy}; "
            f"look at {folder}, change the experiment, or delete the folder to train it again"
        )
    print_rank_zero(f"prerequisite {name}: mean accuracy {100 * mean:.1f}, from {folder}")
