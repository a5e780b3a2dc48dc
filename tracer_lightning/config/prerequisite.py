"""The configuration of an experiment that another one starts from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from tracer_lightning import __version__
from tracer_lightning.config.backbones import is_pretrained
from tracer_lightning.config.errors import SettingError, setting
from tracer_lightning.data.shards.store import ShardStore
from tracer_lightning.engine.settings import without_nulls
from tracer_lightning.storage import check_relative

NOT_HASHED = (
    "paths",
    "logger",
    "callbacks",
    "run",
    "resume",
    "tags",
    "keep",
    "min_accuracy",
    "optimized_metric",
    "continual",
    "compute",
    "rendezvous_timeout",
)
"""Settings that do not change the trained weights."""


class PrerequisiteError(SettingError):
    """An error in the training of a prerequisite, which its message names."""


def compose_prerequisite(cfg: DictConfig) -> DictConfig:
    """The configuration of the prerequisite of ``cfg``, in a folder that is named by a hash of its settings.

    It has the backbone and the accelerator of the experiment that starts from it. The hash covers its own prerequisite.

    Raises:
        ValueError: the prerequisite is a sequence of tasks.
    """
    required = _compose(cfg)
    required.backbone = cfg.backbone
    required.trainer.accelerator = cfg.trainer.accelerator
    folder = Path(cfg.paths.prerequisites) / check_relative(f"{required.name}-{_fingerprint(required)}")
    required.paths = {name: cfg.paths[name] for name in cfg.paths if name != "output_dir"} | {"output_dir": str(folder)}
    required.run = folder.name
    return required


def check_backbone(cfg: DictConfig) -> None:
    """Raise ValueError where the prerequisite of ``cfg`` is for random weights, and the backbone's are pretrained."""
    if is_pretrained(cfg.backbone) and not is_pretrained(_compose(cfg).backbone):
        raise ValueError(
            f"prerequisite.experiment={cfg.prerequisite.experiment} trains random weights, and those of the chosen "
            "backbone are pretrained; choose an experiment for pretrained models, such as questions_own, own_images or "
            "pairs_own, or set prerequisite=null"
        )


@contextmanager
def training_prerequisite(cfg: DictConfig) -> Iterator[None]:
    """Name the prerequisite of ``cfg`` in every ValueError that its training raises."""
    try:
        yield
    except PrerequisiteError:  # of its own prerequisite
        raise
    except ValueError as error:
        raise PrerequisiteError(
            f"prerequisite.experiment={cfg.prerequisite.experiment} can't be trained: {error}; if it doesn't suit the "
            "backbone or the data, choose another experiment, or set prerequisite=null"
        ) from error


def _compose(cfg: DictConfig) -> DictConfig:
    """The prerequisite as it is configured, with its own backbone."""
    required = compose("train", [f"experiment={cfg.prerequisite.experiment}", *cfg.prerequisite.overrides])
    if required.tasks:
        raise ValueError(f"prerequisite.experiment={cfg.prerequisite.experiment} is a sequence of tasks; choose a run")
    return required


def _fingerprint(cfg: DictConfig) -> str:
    settings: Any = without_nulls(OmegaConf.to_container(cfg, resolve=False))
    for key in (*NOT_HASHED, *(() if cfg.embedder else ("embedder", "align"))):
        settings.pop(key, None)
    earlier = [] if cfg.prerequisite is None else [Path(compose_prerequisite(cfg).paths.output_dir).name]
    text = json.dumps([__version__, settings, *_training_folders(cfg), *earlier], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _training_folders(cfg: DictConfig) -> list[str]:
    """The folders that a pattern of training folders matches now: another folder makes another training set."""
    folder = OmegaConf.select(cfg, "data.train.folder")
    with setting("data"):
        return [*ShardStore(cfg.data.root, Path()).matches(folder)] if folder and "*" in folder else []
