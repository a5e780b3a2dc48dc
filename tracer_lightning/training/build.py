"""From configuration to objects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

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
            raise _cause(cfg, error) from error
    return naming(key, made) if isinstance(node, DictConfig) and node.get("_partial_") else made


def _written(cfg: DictConfig, key: str) -> str:
    """The key at which a user sets what stands at ``key``: the target of an interpolation, else itself."""
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    target = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    return target[1] if target else key


def _cause(cfg: DictConfig, error: InstantiationException) -> Exception:
    """The innermost mistake, with the setting of the nested node where it was made."""
    inner: BaseException | None = error
    while isinstance(inner, InstantiationException) and inner.__cause__ is not None:
        place, inner = re.search(r"full_key: (\S+)", str(inner)), inner.__cause__
    if not isinstance(inner, (ValueError, TypeError)):
        return error
    return ValueError(f"{_written(cfg, place[1])}: {inner}" if place else str(inner))


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
    prompts = data.prompts()
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
