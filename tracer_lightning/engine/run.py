"""One run: build, evaluate, fit, evaluate, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from hydra.errors import HydraException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import add_head, build_data, build_module, build_trainer
from tracer_lightning.config.checkpoint import start_path
from tracer_lightning.config.errors import setting
from tracer_lightning.config.validate import check_settings
from tracer_lightning.data import ClipDataModule, DataModule
from tracer_lightning.engine.console import console, print_rank_zero, quieten
from tracer_lightning.engine.continuation import check_continued, check_restorable, restoring
from tracer_lightning.engine.csv_logger import ContinuedCSVLogger
from tracer_lightning.engine.optimized_metric import check_monitors, check_optimized_metric, last_validation, returned
from tracer_lightning.engine.precision import evaluated_in
from tracer_lightning.engine.prerequisite import ensure_prerequisite
from tracer_lightning.engine.resume import check_position, checkpoint_to_resume, compare_settings, lock_run_dir
from tracer_lightning.engine.run_folder import CONFIG, DETAILS, RESULTS, write_json
from tracer_lightning.engine.signals import SIGNALS
from tracer_lightning.engine.stopping import report_interruption
from tracer_lightning.evaluation import Scores, results_table
from tracer_lightning.models import read_checkpoint
from tracer_lightning.models.files import CHECKPOINT
from tracer_lightning.module import TracerModule
from tracer_lightning.reporting.versions import versions
from tracer_lightning.storage import write_text

USER_ERRORS = (ValueError, OSError, HydraException, MisconfigurationException, OmegaConfBaseException)
"""What a user can cause and mend; anything else is a bug, and shows its traceback."""


def _test(trainer: pl.Trainer, module: TracerModule, data: DataModule, heads: bool = True) -> dict[str, Scores]:
    module.tests_untrained = not heads
    trainer.test(module, datamodule=data, verbose=False)
    return dict(module.results)


def check_counts(scores: Scores, data: DataModule) -> None:
    """Were all samples of every set evaluated, but for those that can't be read? A stream can't tell beforehand."""
    lost = len(unreadable_anywhere(data)) + data.incomplete
    for eval_set in data.eval_sets:
        found, expected = scores[eval_set.name]["n"], eval_set.samples
        if expected is not None and not expected - lost <= found <= expected:
            raise ValueError(f"suite.{eval_set.name}: {found:,} samples were read, and {expected:,} are expected")


def say_unscored(scores: Scores) -> None:
    """Name the sets that have no scores."""
    for name, values in scores.items():
        if values.get("n") == 0:
            print_rank_zero(f"{name}: none of its images could be read, so that it has no scores and is in no mean")


def say_held_out(data: DataModule) -> None:
    """Say which images validate, where a user might not expect it."""
    if line := data.about_validation():
        print_rank_zero(line)


def _check_and_continue(
    cfg: DictConfig,
    trainer: pl.Trainer,
    module: TracerModule,
    data: DataModule,
    checkpoint: Path | None,
    trains: bool,
) -> None:
    if checkpoint is not None:
        saved = read_checkpoint(checkpoint, "resume")
        compare_settings(saved["hyper_parameters"], cfg)
        check_restorable(saved, checkpoint, trainer, module)
        if trains:
            with setting(f"resume={checkpoint}"):
                check_position(saved, trainer, data)
        print_rank_zero(f"continuing {checkpoint} at step {saved['global_step']}")
        for logger in trainer.loggers:
            if isinstance(logger, ContinuedCSVLogger):
                logger.continue_from(saved["global_step"])


def unreadable_anywhere(data: DataModule) -> list[str]:
    """Where the pictures are that some process could not read; every process must ask."""
    found: list[set[str]] = [data.unreadable]
    if dist.is_available() and dist.is_initialized():
        found = [set()] * dist.get_world_size()
        dist.all_gather_object(found, data.unreadable)
    return sorted(set().union(*found))


def train(cfg: DictConfig) -> dict[str, Any] | float:
    """Run the experiment; return what results.json holds or, with ``optimized_metric``, its last validation value."""
    return returned(run(cfg), cfg.optimized_metric)


def run(cfg: DictConfig, **trainer_options: Any) -> dict[str, Any]:
    """Run the experiment that ``cfg`` describes.

    Returns:
        What results.json holds: scores by model and data set, method, seed, versions, seconds.
    """
    quieten()
    check_settings(cfg)
    checkpoint = checkpoint_to_resume(cfg)
    if checkpoint is not None:
        check_continued(read_checkpoint(checkpoint, "resume"), checkpoint)
    with SIGNALS, lock_run_dir(Path(cfg.paths.output_dir), anew=checkpoint is None):
        start = time.perf_counter()
        weights = start_path(cfg.init_weights) or ensure_prerequisite(cfg)
        trainer, module, data = _build(cfg, weights, **trainer_options)
        with report_interruption(trainer, cfg):
            found = _run(cfg, checkpoint, trainer, module, data)
            origin = None if weights is None else str(Path(weights).absolute())
            return _finish(cfg, trainer, module, data, {**found, "start": origin}, start)


def _count(model: nn.Module, trained: bool = False) -> int:
    """Parameters of a model, or those that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trained)


def _build(
    cfg: DictConfig, weights: Path | str | None, **trainer_options: Any
) -> tuple[pl.Trainer, TracerModule, DataModule]:
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    backbone = build_backbone(cfg, weights)
    data = build_data(cfg, backbone)
    if cfg.reproduce.rows_of_captions:
        if not isinstance(data, ClipDataModule):
            raise ValueError("reproduce.rows_of_captions draws images with captions, and the data have none")
        data.draws_rows = True
    check_optimized_metric(cfg.optimized_metric, data)
    check_monitors(cfg.callbacks, data)
    trainer = build_trainer(cfg, **trainer_options)
    add_head(cfg, backbone.model, data, trainer)
    module = build_module(cfg, backbone, data)
    module.save_hyperparameters(OmegaConf.to_container(cfg, resolve=True))
    return trainer, module, data


def _run(
    cfg: DictConfig, checkpoint: Path | None, trainer: pl.Trainer, module: TracerModule, data: DataModule
) -> dict[str, Any]:
    """Evaluate, fit, evaluate: scores by model, and the details of those before."""
    output = Path(cfg.paths.output_dir)
    trains = _count(module.student, trained=True) > 0
    print_rank_zero(f"{cfg.name}: method {cfg.method.name}, seed {cfg.seed}, in {output}")
    say_held_out(data)
    _check_and_continue(cfg, trainer, module, data, checkpoint, trains)
    if trainer.is_global_zero:
        write_text(output / CONFIG, OmegaConf.to_yaml(cfg, resolve=True))
    zero_shot = _test(trainer, module, data, heads=False)["student"]
    details = module.details["student"]
    if trainer.limit_test_batches == 1.0:
        check_counts(zero_shot, data)
    if trains:
        with restoring(checkpoint):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    elif not trainer.fast_dev_run:  # type: ignore[attr-defined]
        trainer.save_checkpoint(output / CHECKPOINT)
    validation = last_validation(trainer, module, data)
    after = _test(trainer, module, data)
    scores = {"zero_shot": zero_shot, "student": after["student"], "teacher": after.get("teacher")}
    return {"scores": scores, "validation": validation, "details": {"zero_shot": details, **module.details}}


def _finish(
    cfg: DictConfig,
    trainer: pl.Trainer,
    module: TracerModule,
    data: DataModule,
    found: dict[str, Any],
    start: float,
) -> dict[str, Any]:
    """Write what was found; results.json comes last, and says that the run is complete."""
    output = Path(cfg.paths.output_dir)
    seconds = round(time.perf_counter() - start, 1)
    identity = {"name": cfg.name, "method": cfg.method.name, "seed": cfg.seed, "headline": cfg.primary_metric}
    parameters = {"total": _count(module.student), "trained": _count(module.student, trained=True)}
    precision = evaluated_in(trainer, cfg.evaluation.precision)
    about = {**identity, "precision": precision, "parameters": parameters, "versions": versions(), "seconds": seconds}
    results = {**found["scores"], "validation": found["validation"], "start": found["start"], **about}
    lost = unreadable_anywhere(data)
    if trainer.is_global_zero:
        names = {eval_set.name: data.label_names(eval_set) for eval_set in data.eval_sets}
        write_json(output / DETAILS, {"labels": names, **found["details"]}, indent=None)
        write_json(output / RESULTS, results)
        title = f"{cfg.name}, {cfg.method.name}, seed {cfg.seed}, evaluated in {precision}"
        console.print(results_table(title, found["scores"], cfg.primary_metric))
        say_unscored(found["scores"]["student"])
        if lost:
            print_rank_zero(f"could not be read: {len(lost)} of the pictures, among them {lost[0]}")
        print_rank_zero(f"{seconds} s; results, metrics and checkpoint are in {output}")
    return results
