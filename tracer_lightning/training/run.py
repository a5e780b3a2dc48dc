"""One run: build, evaluate, fit, evaluate, report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.errors import InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_info
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from tracer_lightning.evaluation import Scores, results_table
from tracer_lightning.training.build import build_backbone, build_data, build_module, build_trainer
from tracer_lightning.training.prerequisite import ensure_prerequisite
from tracer_lightning.training.results import CHECKPOINT, CONFIG, RESULTS, versions, write_json

USER_ERRORS = (ValueError, InstantiationException, MisconfigurationException, OmegaConfBaseException)
"""What a user can cause and mend; anything else is a bug, and shows its traceback."""


def checkpoint_to_resume(cfg: DictConfig) -> Path | None:
    """The checkpoint that ``resume`` names, None where there is nothing to resume."""
    own = Path(cfg.paths.output_dir) / CHECKPOINT
    if cfg.resume == "auto":
        return own if own.exists() else None
    if cfg.resume is None:
        if own.exists():
            raise ValueError(
                f"run={cfg.run}: {own.parent.parent} holds a run already; continue it with resume=auto, or choose "
                "another name"
            )
        return None
    path = Path(cfg.resume)
    path = path / CHECKPOINT if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"resume={cfg.resume}: no checkpoint at {path}; give a checkpoint, a run folder, or auto")
    return path


def _test(trainer: pl.Trainer, module: Any, data: Any) -> dict[str, Scores]:
    trainer.test(module, datamodule=data, verbose=False)
    return dict(module.results)


def run(cfg: DictConfig, **trainer_options: Any) -> dict[str, Any]:
    """Run the experiment that ``cfg`` describes.

    Returns:
        What results.json holds: scores by model and data set, method, seed, versions, seconds.
    """
    start = time.perf_counter()
    OmegaConf.resolve(cfg)
    output = Path(cfg.paths.output_dir)
    checkpoint = checkpoint_to_resume(cfg)
    weights = cfg.init_weights or ensure_prerequisite(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    backbone = build_backbone(cfg, weights)
    data = build_data(cfg, backbone)
    module = build_module(cfg, backbone, data)
    trainer = build_trainer(cfg, **trainer_options)
    settings = OmegaConf.to_container(cfg, resolve=True)
    module.save_hyperparameters(settings)
    if trainer.is_global_zero:
        OmegaConf.save(cfg, output / CONFIG)

    rank_zero_info(f"{cfg.name}: method {cfg.method.name}, seed {cfg.seed}, in {output}")
    zero_shot = _test(trainer, module, data)["student"]
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    after = _test(trainer, module, data)
    results = {
        "zero_shot": zero_shot,
        "student": after["student"],
        "teacher": after.get("teacher"),
        "name": cfg.name,
        "method": cfg.method.name,
        "seed": cfg.seed,
        "versions": versions(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    if trainer.is_global_zero:
        write_json(output / RESULTS, results)
        scores = {name: results[name] for name in ("zero_shot", "student", "teacher")}
        Console().print(results_table(f"{cfg.name}, {cfg.method.name}, seed {cfg.seed}", scores))
        rank_zero_info(f"{results['seconds']} s; results, metrics and checkpoint are in {output}")
    return results
