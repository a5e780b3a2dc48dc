"""The checkpoint that a run continues from, and the settings that must not differ from those it was saved with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl

from tracer_lightning.data import DataModule
from tracer_lightning.engine.checkpoint_checks import check_content, check_restorable
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.csv_logger import ContinuedCSVLogger
from tracer_lightning.engine.run_folder import (
    CHECKPOINT,
    CONFIG,
    SEQUENCE,
    is_finished,
    list_checkpoints,
    newest_intact_checkpoint,
)
from tracer_lightning.engine.settings import flatten, shortened, without_nulls
from tracer_lightning.functional.steps import check_horizon
from tracer_lightning.models import read_checkpoint
from tracer_lightning.module import TracerModule
from tracer_lightning.reporting.files import read_yaml

AUTO = "auto"
"""Value of ``resume`` that continues the run's own folder, or the last unfinished run of the same settings."""
STRUCTURE = (
    "backbone.",
    "peft.",
    "embedder.",
    "data.held_out.",
    "batch_norm",
    "trainable_layers",
    "teacher.",
    "kernel.",
    "reproduce.",
    "method.train",
    "method.freeze",
    "head.",
    "optimizer._target_",
    "scheduler._target_",
)
"""Settings that determine the structure of a checkpoint's state."""
ORIGIN = ("prerequisite", "init_weights", "align.")
"""Settings that determine the initial weights, with which a continued run is compared, too."""
RESTORED = ("optimizer.", "scheduler.")
"""Settings whose values are restored from the checkpoint."""
COMPARED = (
    *STRUCTURE,
    *ORIGIN,
    *RESTORED,
    "seed",
    "data.",
    "task_loss.",
    "distill_losses.",
    "anchors.",
    "regularizers.",
    "method.",
    "positives",
)
"""Settings that are compared with the checkpoint's: a difference is an error or is printed."""
NOT_COMPARED = ("run", "tags", "resume", "keep", "paths", "rendezvous_timeout")
"""Settings in which unfinished runs and their continuation may differ."""


class SavedRun(NamedTuple):
    """A checkpoint to continue from, read once."""

    path: Path
    """Path of the checkpoint."""
    content: Mapping[str, Any]
    """Content of the checkpoint, checked; its tensors are mapped from the file."""


def read_saved_run(path: Path) -> SavedRun:
    """Read and check a checkpoint to continue from.

    Raises:
        ValueError: no run of this project has written it.
    """
    content = read_checkpoint(path, "resume")
    check_content(content, path)
    return SavedRun(path, content)


def find_checkpoint(resume: str | None, settings: Mapping[str, Any], is_unnamed: bool) -> tuple[Path, Path | None]:
    """The folder that a run writes in, and the checkpoint that it continues from; None to start anew.

    A run that continues from elsewhere and has checkpoints of its own goes on from those, so that its command can be
    repeated.

    Args:
        resume: None; a run's folder or checkpoint; or ``auto``, which continues the run's own folder or, where the run
            is unnamed, the last unfinished run of the same settings, in that run's folder.
        settings: the run's resolved settings.
        is_unnamed: whether the run's folder is named by the time at which it began.

    Raises:
        ValueError: there is no checkpoint at ``resume``, all are damaged, a run that is not to be continued has
            checkpoints already, or the folder holds a sequence of tasks.
    """
    folder = Path(settings["paths"]["output_dir"])
    has_checkpoints = bool(list_checkpoints(folder))
    if (folder / SEQUENCE).exists():
        raise ValueError(f"{folder} holds a sequence of tasks; give this run another name")
    if resume is None:
        if has_checkpoints:
            raise ValueError(
                f"{folder} holds a run already; set resume to {AUTO!r} to continue it, or give this run another name"
            )
        return folder, None
    if resume == AUTO:
        unfinished = folder if has_checkpoints else _last_unfinished_run(settings) if is_unnamed else None
        if unfinished is None:
            print_rank_zero("no unfinished run of these settings, starting anew")
            return folder, None
        return unfinished, newest_intact_checkpoint(unfinished)
    path = Path(resume)
    if path.is_dir():
        path = newest_intact_checkpoint(path) if list_checkpoints(path) else path / CHECKPOINT
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}; give a checkpoint, a run folder, or auto")
    if has_checkpoints and path.parent.resolve() != (folder / CHECKPOINT).parent.resolve():
        print_rank_zero(f"{folder} holds a run already, which is continued instead of {resume}")
        return folder, newest_intact_checkpoint(folder)
    return folder, path


def _last_unfinished_run(settings: Mapping[str, Any]) -> Path | None:
    """Folder of the newest unfinished run of the same experiment and settings that is no task of a sequence."""

    def is_unfinished(folder: Path) -> bool:
        is_task = (folder.parent / SEQUENCE).exists()
        return bool(list_checkpoints(folder)) and not is_finished(folder) and not is_task

    return last_unfinished(settings, CONFIG, is_unfinished)


def last_unfinished(settings: Mapping[str, Any], file: str, is_unfinished: Callable[[Path], bool]) -> Path | None:
    """Folder of the newest unfinished run, or sequence of runs, of the same experiment and settings.

    Args:
        settings: resolved settings to compare with.
        file: name of the file with the settings of each.
        is_unfinished: whether what is in a folder with this file is to be continued.
    """
    comparable = _without_location(settings)
    runs = Path(settings["paths"]["outputs"]) / settings["name"]
    folders: list[Path] = [path.parent for depth in ("*", "*/*") for path in runs.glob(f"{depth}/{file}")]
    for folder in sorted(folders, key=lambda folder: (folder / file).stat().st_mtime, reverse=True):
        if is_unfinished(folder) and _read_settings(folder, file) == comparable:
            return folder
    return None


def _read_settings(folder: Path, file: str) -> Any:
    """Comparable settings in a file of the folder; None where they can't be read."""
    try:
        return _without_location(read_yaml(folder / file))
    except (ValueError, KeyError, TypeError) as error:
        print_rank_zero(f"{folder} is skipped, because it can't be continued ({error})")
        return None


def _without_location(settings: Any) -> Any:
    """Settings without the run's name, and without its folder wherever it is mentioned."""
    folder = settings["paths"]["output_dir"]

    def without_folder(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_folder(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [without_folder(entry) for entry in value]
        return value.replace(folder, "") if isinstance(value, str) else value

    return without_folder(without_nulls({name: value for name, value in settings.items() if name not in NOT_COMPARED}))


def prepare_continuation(
    saved: SavedRun,
    settings: Mapping[str, Any],
    trainer: pl.Trainer,
    module: TracerModule,
    data: DataModule,
    trains: bool,
) -> None:
    """Check that a built run can continue from a checkpoint, and keep its metrics up to there.

    Args:
        saved: the checkpoint.
        settings: resolved settings of this run.
        trainer: trainer of this run, before it trains.
        module: module of this run, before it is trained.
        data: data module of this run.
        trains: whether anything is trained.

    Raises:
        ValueError: the checkpoint does not fit the run; nothing has been written.
    """
    path, content = saved
    compare_settings(content["hyper_parameters"], settings)
    check_restorable(content, path, trainer, module)
    if trains:
        with _naming(path):
            check_position(content, trainer, data)
    print_rank_zero(f"continuing {path} at step {content['global_step']}")
    for logger in trainer.loggers:
        if isinstance(logger, ContinuedCSVLogger):
            logger.continue_from(content["global_step"])


def compare_settings(saved: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse changes of architecture, teacher, optimizer class or initial weights; print all other differences.

    Args:
        saved: resolved settings in the checkpoint.
        settings: resolved settings of this run.
    """
    current, previous = dict(flatten(settings)), dict(flatten(saved))
    differing = [
        key for key in {**previous, **current} if previous.get(key) != current.get(key) and key.startswith(COMPARED)
    ]
    if not settings.get("embedder"):
        differing = [key for key in differing if not key.startswith("align.")]  # which is of embedders
    for key in differing:
        values = f"this run has {shortened(current.get(key))} and the checkpoint {shortened(previous.get(key))}"
        if key.startswith((*STRUCTURE, *ORIGIN)):
            raise ValueError(
                f"{key[:100]}: {values}; continue with the same, or start a new run from the checkpoint's weights"
            )
        owner = "the checkpoint's" if key.startswith(RESTORED) else "this run's"
        print_rank_zero(f"{key[:100]}: {values}; {owner} value is used")


def check_position(saved: Mapping[str, Any], trainer: pl.Trainer, data: DataModule) -> None:
    """Refuse to continue with other training data or another number of steps.

    Lightning would notice both only once training begins. A limited number of batches is left to it.

    Args:
        saved: content of the checkpoint.
        trainer: trainer of this run.
        data: data module of this run.
    """
    if trainer.local_rank == 0:
        data.prepare_data()
    loader = data.train_loader()
    state = saved.get(type(data).__qualname__, {})
    if not isinstance(state, dict):
        raise ValueError(f"the checkpoint's position in the training data must be a mapping, found {state!r:.100}")
    if "sampler" in state:
        loader.sampler.load_state_dict(state["sampler"])
    options: Any = trainer
    is_limited = options.limit_train_batches != 1.0 or options.overfit_batches
    steps = -(-len(loader) // options.accumulate_grad_batches) * max(options.max_epochs, 1)
    horizons = [limit for limit in (steps if options.max_epochs != -1 else -1, options.max_steps) if limit != -1]
    if horizons and not is_limited:
        check_horizon(min(horizons), saved["total_steps"])


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the checkpoint in errors of the position in the data."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"resume={path}: {error}") from error
