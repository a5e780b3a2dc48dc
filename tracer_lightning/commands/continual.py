"""Run a sequence of tasks: each is a run that starts from the model of the one before, and tests all tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.build import resolved_settings
from tracer_lightning.config.continual import TEACHER, TaskConfig, compose_tasks, prepare_sequence
from tracer_lightning.config.errors import setting
from tracer_lightning.config.local_data import local_data
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.resume import AUTO
from tracer_lightning.engine.run_folder import (
    CHECKPOINT,
    CONTINUAL,
    HANDED_ON,
    is_finished,
    list_checkpoints,
    lock_run_dir,
)
from tracer_lightning.engine.sequence import (
    SequenceInfo,
    check_order,
    find_sequence_folder,
    finish_sequence,
    is_first_process,
    provide_weights,
    write_settings,
)
from tracer_lightning.engine.signals import SIGNALS
from tracer_lightning.models import Model

RunTask = Callable[[DictConfig], object]
"""Trains and tests one task, given its configuration."""


def run_sequence(cfg: DictConfig, is_unnamed: bool, run_task: RunTask) -> dict[str, Any]:
    """Run the tasks that ``cfg.tasks`` lists; those that are finished are skipped.

    Args:
        cfg: composed configuration; ``paths.output_dir`` is changed where another folder's sequence is continued.
        is_unnamed: whether the folder is named by the time at which the run began.
        run_task: trains and tests one task.

    Returns:
        The content of continual.json; in other processes than the first one, nothing.
    """
    tasks = compose_tasks(cfg)
    with setting("resume"):
        folder = find_sequence_folder(cfg.resume, _settings(cfg, tasks), is_unnamed)
    if str(folder) != cfg.paths.output_dir:
        cfg.paths.output_dir = str(folder)
        tasks = compose_tasks(cfg)
    settings = OmegaConf.to_yaml(OmegaConf.create(_settings(cfg, tasks)))
    preparation = prepare_sequence(cfg, tasks)
    info = SequenceInfo(folder, {task.name: task.sets for task in tasks}, preparation.general, cfg.continual.hand_on)
    check_order(info.folders)
    with SIGNALS, lock_run_dir(folder, anew=False):
        if is_first_process():
            (folder / CONTINUAL).unlink(missing_ok=True)
            write_settings(folder, settings)
        start: Path | None = None
        for number, (task, task_dir) in enumerate(zip(tasks, info.folders, strict=True), 1):
            _run_task(task, task_dir, start, f"task {number} of {len(tasks)}: {task.name}", run_task)
            if number < len(tasks):
                start = _weights_to_hand_on(task, task_dir, cfg.continual.hand_on, preparation.merges)
        return finish_sequence(info, cfg.primary_metric) if is_first_process() else {}


def _settings(cfg: DictConfig, tasks: Sequence[TaskConfig]) -> dict[str, Any]:
    """Resolved settings of the sequence; ``data`` and ``suite`` are those of the first task."""
    own: Any = OmegaConf.to_container(OmegaConf.create({"tasks": cfg.tasks}), resolve=True)
    paths: Any = OmegaConf.to_container(cfg.paths, resolve=True)
    return {**resolved_settings(tasks[0].cfg), **own, "run": cfg.run, "paths": paths}


def _run_task(task: TaskConfig, folder: Path, start: Path | None, title: str, run_task: RunTask) -> None:
    """Run one task from these weights, unless it is finished."""
    if is_finished(folder):
        print_rank_zero(f"{title} is finished, in {folder}")
        return
    print_rank_zero(title)
    if is_first_process():
        (folder / HANDED_ON).unlink(missing_ok=True)
    cfg = task.cfg
    if start is not None:
        cfg.prerequisite, cfg.init_weights = None, str(start)
    cfg.resume = AUTO if list_checkpoints(folder) else None
    with local_data(cfg):
        run_task(cfg)


def _weights_to_hand_on(task: TaskConfig, folder: Path, model: str, merges: bool) -> Path:
    """File whose student the next task starts from: the checkpoint, or one with the teacher or with merged weights."""
    checkpoint = folder / CHECKPOINT
    is_teacher = model == TEACHER
    if not is_teacher and not merges:
        return checkpoint

    def load() -> Model:
        finished: Model = finished_backbone(task.cfg, checkpoint, "continual.hand_on", teacher=is_teacher).model
        finished.merge_updates()
        return finished

    return provide_weights(folder / HANDED_ON, load)
