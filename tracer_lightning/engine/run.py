"""One run of a built experiment: evaluate, fit, evaluate, and write the results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import nn

from tracer_lightning.data import DataModule
from tracer_lightning.engine.checkpoint_checks import restoring
from tracer_lightning.engine.console import console, print_rank_zero
from tracer_lightning.engine.interruption_messages import report_interruption
from tracer_lightning.engine.precision import precision_name
from tracer_lightning.engine.resume import SavedRun, prepare_continuation
from tracer_lightning.engine.run_folder import CHECKPOINT, CHECKPOINTS, CLASSES, CONFIG, DETAILS, RESULTS, write_json
from tracer_lightning.engine.samples import (
    check_sample_counts,
    print_samples_in_memory,
    print_unreadable_samples,
    print_unscored_sets,
    print_validation_split,
    runs_all_test_batches,
    unreadable_samples,
)
from tracer_lightning.engine.validation import last_validation
from tracer_lightning.evaluation import results_tables
from tracer_lightning.module import TracerModule
from tracer_lightning.phases import measure_phases, phase
from tracer_lightning.reporting.versions import versions
from tracer_lightning.scores import Scores
from tracer_lightning.storage import write_text
from tracer_lightning.storage.checkpoints import keep_weights


class RunInfo(NamedTuple):
    """Settings of a run that its files and messages state."""

    folder: Path
    """Folder that the run writes in."""
    settings: Mapping[str, Any]
    """All settings, resolved: compared with those of a checkpoint."""
    config: str
    """Content of config.yaml."""
    name: str
    """Name of the experiment."""
    method: str
    """Name of the method."""
    seed: int
    """Seed of initial weights, data order and captions."""
    primary_metric: str
    """Metric that tables put first."""
    precision: str
    """Precision of evaluations: ``fp32`` or ``bf16``."""
    start: Path | None
    """Weights that the run starts from; None for those of its backbone."""
    resume_hint: str
    """How a user continues the run, for messages."""
    keeps_optimizer: bool = True
    """Whether the finished run keeps the state of the optimizer, and the checkpoint before the last one."""
    prepared: Mapping[str, Any] = MappingProxyType({})
    """Further entries of results.json, about what was prepared before training."""


class _Outcome(NamedTuple):
    """Results of a run before they are written."""

    scores: dict[str, Any]
    validation: dict[str, dict[str, float]]
    details: dict[str, Any]


def run(
    trainer: pl.Trainer,
    module: TracerModule,
    data: DataModule,
    info: RunInfo,
    saved: SavedRun | None = None,
) -> dict[str, Any]:
    """Evaluate, fit and evaluate a built experiment, and write its results.

    Args:
        trainer: trainer with the run's callbacks and loggers.
        module: student, teacher and losses.
        data: data module for the module's inputs.
        info: settings that the run's files state.
        saved: checkpoint to continue from.

    Returns:
        Content of results.json: scores by model and data set, method, seed, versions, seconds in all and by phase.

    Raises:
        ValueError: the checkpoint does not fit the run, or test samples are missing.
        OSError: the disk is full, or another process was lost; the message names the last good checkpoint.
        MemoryError: likewise, for lack of memory.
    """
    module.prepared = info.prepared
    with report_interruption(trainer, info.resume_hint), measure_phases() as phases:
        outcome = _train_and_test(trainer, module, data, info, saved)
        return _write_results(trainer, module, data, info, outcome, phases.take())


def _test(trainer: pl.Trainer, module: TracerModule, data: DataModule, untrained: bool = False) -> dict[str, Scores]:
    module.tests_untrained = untrained
    with phase("evaluation"):
        trainer.test(module, datamodule=data, verbose=False)
    return dict(module.results)


def _count_parameters(model: nn.Module, only_trained: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not only_trained)


def _train_and_test(
    trainer: pl.Trainer, module: TracerModule, data: DataModule, info: RunInfo, saved: SavedRun | None
) -> _Outcome:
    trains = _count_parameters(module.student, only_trained=True) > 0
    print_rank_zero(f"{info.name}: method {info.method}, seed {info.seed}, in {info.folder}")
    print_validation_split(data)
    if saved is not None:
        prepare_continuation(saved, info.settings, trainer, module, data, trains)
    if trainer.is_global_zero:
        write_text(info.folder / CONFIG, info.config)
        if (texts := data.class_texts()) is not None:
            write_json(info.folder / CLASSES, texts._asdict())
    before = _test(trainer, module, data, untrained=True)["student"]
    details_before = module.details["student"]
    print_samples_in_memory(data)
    if runs_all_test_batches(trainer):
        check_sample_counts(before, data)
    if trains:
        path = None if saved is None else saved.path
        with restoring(path), phase("training"):
            trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)
    elif not trainer.fast_dev_run:  # type: ignore[attr-defined]
        trainer.save_checkpoint(info.folder / CHECKPOINT)
    with phase("evaluation"):
        validation = last_validation(trainer, module, data)
    is_changed = trains or module.student.head is not None
    tuned = _test(trainer, module, data) if is_changed else {"student": before}
    untrained = module.test.untrained
    scores = {untrained: before, "student": tuned["student"], "teacher": tuned.get("teacher")}
    return _Outcome(scores, validation, {untrained: details_before, **module.details})


def _write_results(
    trainer: pl.Trainer,
    module: TracerModule,
    data: DataModule,
    info: RunInfo,
    outcome: _Outcome,
    phases: dict[str, float],
) -> dict[str, Any]:
    """Write and print the results; results.json comes last, and marks the run as finished."""
    seconds = round(sum(phases.values()), 1)
    precision = precision_name(trainer, info.precision)
    results = {
        **outcome.scores,
        "validation": outcome.validation,
        "validation_is_test_set": data.val_set in data.eval_sets,
        "start": None if info.start is None else str(info.start.absolute()),
        "name": info.name,
        "method": info.method,
        "seed": info.seed,
        "headline": info.primary_metric,
        "metrics": {metric.name: metric.declaration() for metric in module.test.metrics},
        **module.test.settings(),
        **info.prepared,
        "precision": precision,
        "parameters": {
            "total": _count_parameters(module.student),
            "trained": _count_parameters(module.student, only_trained=True),
        },
        "versions": versions(),
        "seconds": seconds,
        "phases": {name: round(value, 1) for name, value in phases.items()},
    }
    unreadable = unreadable_samples(data)
    if trainer.is_global_zero:
        labels = {eval_set.name: data.label_names(eval_set) for eval_set in data.eval_sets}
        write_json(info.folder / DETAILS, {"labels": labels, **outcome.details}, indent=None)
        write_json(info.folder / RESULTS, results)
        if not info.keeps_optimizer:
            keep_weights(info.folder / CHECKPOINTS)
        title = f"{info.name}, {info.method}, seed {info.seed}, evaluated in {precision}"
        tables = results_tables(title, outcome.scores, info.primary_metric, module.test.metrics)
        for table in (*tables, *module.test.tables(outcome.scores)):
            console.print(table)
        print_unscored_sets(outcome.scores["student"])
        print_unreadable_samples(unreadable)
        print_rank_zero(f"{seconds} s; results, metrics and checkpoint are in {info.folder}")
    return results
