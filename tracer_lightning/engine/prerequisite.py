"""Experiments that others start from: run once, cached, checked."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra import compose
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from tracer_lightning import __version__
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import build_data
from tracer_lightning.config.validate import without_nulls
from tracer_lightning.data.shards.store import ShardStore
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.run_folder import RESULTS
from tracer_lightning.models.files import CHECKPOINT
from tracer_lightning.reporting.results import read_results
from tracer_lightning.storage import check_relative

NOT_HASHED = (
    "paths",
    "logger",
    "callbacks",
    "run",
    "resume",
    "min_accuracy",
    "optimized_metric",
    "compute",
    "rendezvous",
)
"""What does not change the outcome."""
LOCK = "lock"
PATIENCE = 60
"""Seconds between looks at whether the training process is still alive."""


def _fingerprint(cfg: DictConfig) -> str:
    settings: Any = without_nulls(OmegaConf.to_container(cfg, resolve=False))
    for key in NOT_HASHED:
        settings.pop(key, None)
    text = json.dumps([__version__, settings, *_found(cfg)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _found(cfg: DictConfig) -> list[str]:
    """The folders that a pattern of training folders stands for now: with another one it is another training set."""
    folder = OmegaConf.select(cfg, "data.train.folder")
    return [*ShardStore(cfg.data.root, Path()).matches(folder)] if folder and "*" in folder else []


def ensure_prerequisite(cfg: DictConfig) -> Path | None:
    """The checkpoint that this experiment starts from, trained now if it is not cached.

    Raises:
        ValueError: its mean accuracy is below the ``min_accuracy`` that it states.
    """
    if cfg.prerequisite is None:
        return None
    required = compose("train", [f"experiment={cfg.prerequisite.experiment}", *cfg.prerequisite.overrides])
    required.backbone = cfg.backbone  # what starts from it has its architecture
    required.trainer.accelerator = cfg.trainer.accelerator
    folder = Path(cfg.paths.prerequisites) / check_relative(f"{required.name}-{_fingerprint(required)}")
    required.paths = {**cfg.paths, "output_dir": str(folder)}
    required.run = folder.name
    if getattr(rank_zero_only, "rank", 0) == 0 and not (folder / RESULTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            if not (folder / RESULTS).exists():
                from tracer_lightning.engine.run import run

                build_data(cfg, build_backbone(cfg, None)).setup("fit")  # its mistakes are better known before
                begun = any((folder / CHECKPOINT).parent.glob("*.ckpt"))
                required.resume = "auto" if begun else None
                print_rank_zero(f"prerequisite {required.name}: not cached, trained now in {folder}")
                run(required, plugins=[LightningEnvironment()])
    _wait(folder)
    _check_floor(required, folder)
    if not (folder / CHECKPOINT).is_file():
        raise ValueError(f"prerequisite: {folder} has lost its checkpoint; delete the folder to train it again")
    return folder / CHECKPOINT


def _wait(folder: Path) -> None:
    """Wait for the rank that trains the prerequisite, but not for one that has died."""
    waited = 0
    while not (folder / RESULTS).exists():
        time.sleep(1.0)
        waited += 1
        if waited % PATIENCE == 0:
            try:
                with FileLock(folder / LOCK, timeout=0):
                    dead = not (folder / RESULTS).exists()
            except Timeout:
                continue
            if dead:
                raise ValueError(f"prerequisite: the process that trained {folder} has ended without results")


def _check_floor(required: DictConfig, folder: Path) -> None:
    try:
        scores: Any = read_results(folder / RESULTS).student
        every = [values["accuracy"] for values in scores.values() if "sets" not in values]
        accuracies = [float(accuracy) for accuracy in every if accuracy is not None]
        mean = sum(accuracies) / len(accuracies)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(
            f"prerequisite: {folder / RESULTS} is not as a run writes it; delete the folder to train it again"
        ) from error
    if required.min_accuracy is not None and mean < required.min_accuracy:
        raise ValueError(
            f"prerequisite: {required.name} reached a mean accuracy of {mean:.3f}, below its min_accuracy of "
            f"{required.min_accuracy}; look at {folder}, change the experiment, or delete the folder to train it again"
        )
    print_rank_zero(f"prerequisite {required.name}: mean accuracy {100 * mean:.1f}, from {folder}")
