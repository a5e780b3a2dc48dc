"""From configuration to objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from tracer_lightning.data import ClipDataModule
from tracer_lightning.evaluation import ZeroShotSuite
from tracer_lightning.losses import CompositeLoss
from tracer_lightning.models import Backbone, freeze, load_weights
from tracer_lightning.module import TracerModule
from tracer_lightning.training.errors import naming, setting


def make(cfg: DictConfig, key: str, **kwargs: Any) -> Any:
    """Instantiate the node ``key``; its errors, and those of a partial when called, name the setting."""
    node = cfg
    for part in key.split("."):
        node = node[part]
    with setting(key):
        try:
            made = instantiate(node, _convert_="all", **kwargs)
        except InstantiationException as error:
            cause = error.__cause__
            if isinstance(cause, (ValueError, TypeError)):
                raise ValueError(str(cause)) from error
            raise
    return naming(key, made) if isinstance(node, DictConfig) and node.get("_partial_") else made


def build_backbone(cfg: DictConfig, weights: Path | str | None) -> Backbone:
    """The model to train, with its weights loaded and its frozen part frozen."""
    backbone: Backbone = make(cfg, "backbone")
    if weights is not None:
        load_weights(backbone.model, weights)
    freeze(backbone.model, cfg.method.freeze)
    return backbone


def build_sum(cfg: DictConfig, *groups: str) -> CompositeLoss:
    """The weighted terms of these groups; those of ``terms`` are multiplied by ``method.strength``."""
    terms, weights = {}, {}
    for group in groups:
        for name, entry in cfg[group].items():
            with setting(f"{group}.{name}.weight"):
                if not isinstance(entry.weight, (int, float)) or entry.weight < 0:
                    raise ValueError(f"must be a number >= 0, found {entry.weight}")
            terms[name] = make(cfg, f"{group}.{name}.term")
            weights[name] = entry.weight * (cfg.method.strength if group == "terms" else 1.0)
    if not isinstance(cfg.method.strength, (int, float)) or cfg.method.strength < 0:
        raise ValueError(f"method.strength must be a number >= 0, found {cfg.method.strength}")
    return CompositeLoss(terms, weights)


def build_data(cfg: DictConfig, backbone: Backbone) -> ClipDataModule:
    """The data module for the backbone's inputs."""
    data: ClipDataModule = make(cfg, "data", spec=backbone.spec, seed=cfg.seed)
    return data


def build_module(cfg: DictConfig, backbone: Backbone, data: ClipDataModule) -> TracerModule:
    """Student, teacher and losses."""
    prompts = data.captions().tokens
    return TracerModule(
        student=backbone.model,
        teacher=make(cfg, "teacher.module")(backbone.model),
        loss=build_sum(cfg, "task", "terms"),
        regularizers=build_sum(cfg, "regularizers"),
        optimizer=make(cfg, "optimizer"),
        scheduler=make(cfg, "scheduler"),
        validation=ZeroShotSuite([data.val_set], prompts),
        test=ZeroShotSuite(data.eval_sets, prompts, models=("student", "teacher")),
    )


def build_trainer(cfg: DictConfig, **kwargs: Any) -> pl.Trainer:
    """The trainer with its callbacks and loggers."""
    callbacks = [make(cfg, f"callbacks.{name}") for name in cfg.callbacks]
    loggers = [make(cfg, f"logger.{name}") for name in cfg.logger]
    trainer: pl.Trainer = make(cfg, "trainer", callbacks=callbacks, logger=loggers, **kwargs)
    return trainer
