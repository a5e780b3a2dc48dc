"""Training: compose, validate, train a prerequisite where there is one, build, and run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from omegaconf import DictConfig, OmegaConf

from tracer_lightning.alignment import Alignment
from tracer_lightning.commands.continual import run_sequence
from tracer_lightning.config.alignment import alignment_results, prepare_modality
from tracer_lightning.config.automatic import choose_automatic
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import (
    add_head,
    build_module,
    build_trainer,
    build_training_data,
    check_optimization,
    check_parts,
    resolved_settings,
)
from tracer_lightning.config.check_built import check_built
from tracer_lightning.config.checkpoint import start_path
from tracer_lightning.config.continual import is_sequence
from tracer_lightning.config.errors import setting
from tracer_lightning.config.prerequisite import check_backbone, compose_prerequisite, training_prerequisite
from tracer_lightning.config.validate import validate
from tracer_lightning.data import DataModule
from tracer_lightning.engine import run as engine
from tracer_lightning.engine.console import print_rank_zero, quieten
from tracer_lightning.engine.prerequisite import ensure_prerequisite
from tracer_lightning.engine.resume import AUTO, SavedRun, find_checkpoint, read_saved_run
from tracer_lightning.engine.run_folder import lock_run_dir
from tracer_lightning.engine.signals import SIGNALS
from tracer_lightning.module import TracerModule
from tracer_lightning.phases import measure_phases, phase


def train(cfg: DictConfig) -> dict[str, Any] | float:
    """Run the experiment, or the sequence of tasks that ``tasks`` lists.

    Returns:
        The content of results.json or, with ``optimized_metric``, that metric of the last validation, for a sweeper; of
        a sequence of tasks, the content of continual.json.
    """
    if is_sequence(cfg):
        return run_sequence(cfg, _is_unnamed(cfg), run)
    return objective(run(cfg), cfg.optimized_metric)


def objective(results: dict[str, Any], metric: str | None) -> dict[str, Any] | float:
    """The value that a job returns to a sweeper: all results or, with a metric, its value in the last validation."""
    if metric is None:
        return results
    if not results["validation"]:
        raise ValueError(
            f"optimized_metric={metric}: there is no validation; see trainer.limit_val_batches, or its images"
        )
    ((name, scores),) = results["validation"].items()
    if metric not in scores:
        raise ValueError(
            f"optimized_metric={metric}: the validation set {name} does not have it; choose one of {', '.join(scores)}"
        )
    value: float = scores[metric]
    return value


def run(cfg: DictConfig, callbacks: Sequence[pl.Callback] = (), plugins: Sequence[Any] = ()) -> dict[str, Any]:
    """Run the experiment that ``cfg`` describes.

    Args:
        cfg: composed configuration; ``paths.output_dir`` is changed where another folder's run is continued.
        callbacks: callbacks of the trainer, called before those of the configuration.
        plugins: plugins of the trainer besides those of the configuration.

    Returns:
        The content of results.json: scores by model and data set, method, seed, versions, seconds.
    """
    quieten()
    validate(cfg, "train")
    check_optimization(cfg)
    checkpoint = checkpoint_to_resume(cfg)
    saved = None if checkpoint is None else read_saved_run(checkpoint)
    folder = Path(cfg.paths.output_dir)
    with SIGNALS, lock_run_dir(folder, anew=saved is None), measure_phases():
        with phase("prerequisite"):
            start = start_path(cfg.init_weights) or prerequisite_checkpoint(cfg)
        config = OmegaConf.to_yaml(cfg, resolve=True)  # what the user chose: by it, an unfinished run is found
        with phase("build"):
            trainer, module, data, alignment = _build(cfg, start, saved, callbacks, plugins)
        info = engine.RunInfo(
            folder=folder,
            settings=resolved_settings(cfg),
            config=config,
            name=cfg.name,
            method=cfg.method.name,
            seed=cfg.seed,
            primary_metric=cfg.primary_metric,
            precision=cfg.evaluation.precision,
            start=start,
            resume_hint=_resume_hint(cfg.resume, folder, _is_unnamed(cfg)),
            keeps_optimizer=cfg.keep == "all",
            prepared=alignment_results(alignment),
        )
        return engine.run(trainer, module, data, info, saved)


def checkpoint_to_resume(cfg: DictConfig) -> Path | None:
    """The checkpoint that ``resume`` names; ``paths.output_dir`` is changed to the folder in which the run goes on."""
    settings = resolved_settings(cfg)
    with setting("resume"):
        folder, checkpoint = find_checkpoint(cfg.resume, settings, _is_unnamed(cfg))
    cfg.paths.output_dir = str(folder)
    return checkpoint


def prerequisite_checkpoint(cfg: DictConfig) -> Path | None:
    """The checkpoint of the experiment that this one starts from, trained now if it is not cached.

    Raises:
        ValueError: it is for random weights, and the backbone has pretrained ones; or it can't be trained.
    """
    if cfg.prerequisite is None:
        return None
    check_backbone(cfg)
    required = compose_prerequisite(cfg)
    folder = Path(required.paths.output_dir)

    def train_prerequisite(is_begun: bool) -> None:
        # mistakes in the data and in parts of the module show before minutes of training
        backbone = build_backbone(cfg, None)
        build_training_data(cfg, backbone).setup("fit")
        check_parts(cfg, backbone.model)
        required.resume = "auto" if is_begun else None
        print_rank_zero(f"prerequisite {required.name}: not cached, trained now in {folder}")
        with training_prerequisite(cfg):
            run(required, plugins=[LightningEnvironment()])

    return ensure_prerequisite(folder, required.name, required.min_accuracy, train_prerequisite)


def _resume_hint(resume: str | None, folder: Path, is_unnamed: bool) -> str:
    """How a user continues this run."""
    if resume == AUTO:
        return "the same command continues it"
    if is_unnamed:
        return "the same command with resume=auto continues it"
    return f"the same command with resume=auto continues {folder}"


def _is_unnamed(cfg: DictConfig) -> bool:
    """Whether the run's name is the time at which it began."""
    unresolved: Any = OmegaConf.to_container(cfg, resolve=False)
    return "${now:" in str(unresolved["run"])


def _build(
    cfg: DictConfig,
    start: Path | None,
    saved: SavedRun | None,
    callbacks: Sequence[pl.Callback],
    plugins: Sequence[Any],
) -> tuple[pl.Trainer, TracerModule, DataModule, Alignment | None]:
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    backbone = build_backbone(cfg, start)
    choose_automatic(cfg, backbone, None if saved is None else saved.content["hyper_parameters"])
    data = build_training_data(cfg, backbone)
    if cfg.reproduce.image_template_pairs:
        with setting("reproduce.image_template_pairs"):
            data.draw_image_template_pairs()
    check_built(cfg, data)
    trainer = build_trainer(cfg, callbacks, plugins)
    alignment = prepare_modality(cfg, backbone, data, trainer, None if saved is None else saved.path)
    add_head(cfg, backbone.model, data, trainer)
    module = build_module(cfg, backbone, data, None if alignment is None else alignment.transported)
    module.save_hyperparameters(resolved_settings(cfg))
    return trainer, module, data, alignment
