"""Data module, module and trainer from a configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from tracer_lightning.callbacks import Progress
from tracer_lightning.config.errors import naming, setting, with_setting
from tracer_lightning.config.type_checks import TARGET, check_values
from tracer_lightning.data import ClipDataModule
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.features import training_features
from tracer_lightning.engine.memory import lacks_memory, memory_request
from tracer_lightning.engine.precision import set_evaluation_precision
from tracer_lightning.engine.rendezvous import meet_at_start
from tracer_lightning.engine.settings import shortened
from tracer_lightning.evaluation import ZeroShotSuite
from tracer_lightning.losses import WeightedSum
from tracer_lightning.models import Backbone, ClipModel, freeze, part_of, train_last, train_parts
from tracer_lightning.module import TracerModule
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO
from tracer_lightning.teachers import Teacher

MOST_REPEATS = 1.0
"""How many others of its class an image may expect in a batch, of equally frequent classes, without a warning.

With ImageNet's 1,000 classes and the paper's batch of 512 it is half as many.
"""


def make(cfg: DictConfig, key: str, kind: type = object, **kwargs: Any) -> Any:
    """Instantiate the node ``key`` as a ``kind``; errors, also those of a partial when called, name the setting."""
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    if not isinstance(node, DictConfig) or TARGET not in node:
        raise ValueError(f"{key} must have _target_, the name of what it makes; found {shortened(node)}")
    check_values(node, key, partial(_source_key, cfg))
    with setting(key):
        try:
            instance = instantiate(node, _convert_="all", **kwargs)
        except InstantiationException as error:
            raise _cause(cfg, error) from error
    return naming(key, instance) if node.get("_partial_") else _of_kind(instance, kind, key)


def _of_kind(instance: Any, kind: type, key: str) -> Any:
    if not isinstance(instance, kind):
        raise ValueError(f"{key}._target_ must make a {kind.__name__}, found {type(instance).__name__}")
    return instance


def _source_key(cfg: DictConfig, key: str) -> str:
    """The key at which a user sets the value of ``key``: the target of an interpolation, else ``key`` itself."""
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    target = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    return target[1] if target else key


def _cause(cfg: DictConfig, error: InstantiationException) -> Exception:
    """The innermost error, with the setting of the nested node that raised it."""
    inner: BaseException = error
    match: re.Match[str] | None = None
    while isinstance(inner, InstantiationException) and inner.__cause__ is not None:
        match, inner = re.search(r"full_key: (\S+)", str(inner)), inner.__cause__
    kind, text = (MemoryError, memory_request(inner)) if lacks_memory(inner) else (ValueError, str(inner))
    return kind(with_setting(_source_key(cfg, match[1]), text) if match else text)


def add_head(cfg: DictConfig, model: ClipModel, data: ClipDataModule, trainer: pl.Trainer) -> None:
    """Give the model the head that it classifies with, made on the device of the run: prompts may be many."""
    if model.head is not None and cfg.head.name != "kept":
        print_rank_zero(
            f"the head of the weights started from is left behind (head={cfg.head.name}); head=kept keeps it"
        )
    device = trainer.strategy.root_device
    model.to(device)
    features = partial(training_features, trainer, model, data)
    model.head = make(cfg, "head.make")(model, data.prompts().to(device), features)
    model.to(device)  # whence the extraction of features took it


def build_sum(
    cfg: DictConfig, student: ClipModel, groups: Sequence[str], anchors: nn.Module | None = None
) -> WeightedSum:
    """The weighted terms of these groups; those of ``terms`` are multiplied by ``method.strength``.

    A partial term is made with the student as it is before training.
    """
    strength = _non_negative(cfg.method.strength, "method.strength")
    terms, weights = {}, {}
    for group in groups:
        for name, entry in _entries(cfg, group):
            if not isinstance(entry, DictConfig) or not ("term" in entry or set(entry) <= {"weight", "weights"}):
                raise ValueError(f"{group}.{name} must have weight and term, found {shortened(entry)}")
            if "term" not in entry:  # an experiment's weight for methods that have this term
                continue
            key = f"{group}.{name}.term"
            term = make(cfg, key)
            made = term if isinstance(term, nn.Module) or not callable(term) else term(student)
            terms[name] = _of_kind(made, nn.Module, key)
            weight = _non_negative(entry.get("weight"), f"{group}.{name}.weight")
            weights[name] = weight * strength if group == "distill_losses" else weight
    return WeightedSum(terms, weights, anchors, cfg.reproduce.distillation_from)


def _entries(cfg: DictConfig, group: str) -> list[tuple[str, Any]]:
    """Names and nodes of a group, without entries that are null."""
    return [(str(name), entry) for name, entry in cfg[group].items() if entry is not None]


def _non_negative(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{key} must be a number >= 0, found {value!r}")
    return float(value)


def build_data(cfg: DictConfig, backbone: Backbone) -> ClipDataModule:
    """The data module for the backbone's inputs."""
    data: ClipDataModule = make(cfg, "data", ClipDataModule, spec=backbone.spec, seed=cfg.seed)
    return data


def build_module(cfg: DictConfig, backbone: Backbone, data: ClipDataModule) -> TracerModule:
    """Student, teacher and losses; what is not trained is frozen."""
    prompts = data.prompts()
    student = backbone.model
    train_parts(student, cfg.method.train)
    freeze(student, cfg.method.freeze)
    train_last(student, cfg.trainable_layers)
    teacher: Teacher = make(cfg, "teacher.module")(student)
    if cfg.compute.compile:
        for model in (student, teacher.module):
            if model is not None:
                model.compile()
    anchors = make(cfg, "anchors.make")(student, prompts.to(student.logit_scale.device))
    module = TracerModule(
        student=student,
        teacher=teacher,
        loss=build_sum(cfg, student, ("task_loss", "distill_losses"), anchors),
        regularizers=build_sum(cfg, student, ("regularizers",)),
        optimizer=make(cfg, "optimizer"),
        scheduler=make(cfg, "scheduler"),
        validation=ZeroShotSuite([data.val_set], prompts),
        test=ZeroShotSuite(
            data.eval_sets,
            prompts,
            models=("student", "teacher"),
            ece_per_batch=cfg.reproduce.ece_per_batch,
            logits_in_bf16=cfg.reproduce.logits_in_bf16,
        ),
    )
    _check_inputs(module, data)
    _warn_of_repeats(module, data)
    if anchors is not None and module.loss.anchors is None:
        print_rank_zero(f"anchors={cfg.anchors.name} is ignored: no term compares images with them")
    return module


def _check_inputs(module: TracerModule, data: ClipDataModule) -> None:
    """Do the losses get what they need, and does what is trained get a gradient?"""
    if module.loss.needs_head and not data.labelled:
        raise ValueError(
            "data: the training pictures have captions and no labels, which a head needs; choose another method"
        )
    trained = {part_of(name) for name, p in module.student.named_parameters() if p.requires_grad}
    if "text" in trained and not (module.loss.needs_texts or module.regularizers.needs_texts):
        raise ValueError(
            "method.train: no loss looks at texts, so that the text tower can't be trained; leave text out of the list"
        )
    if "scale" in trained and not module.loss.needs_scale:
        raise ValueError(
            "method.train: no loss is of the logit scale, so that it can't be trained; leave scale out of the list"
        )


def _warn_of_repeats(module: TracerModule, data: ClipDataModule) -> None:
    """Name the setting where a loss takes many captions of an image's own class for wrong ones."""
    repeats = (data.batch_size - 1) / len(data.classnames)
    diagonal = any(getattr(term, "positives", None) == "diagonal" for term in module.loss.terms.values())
    if data.labelled and diagonal and repeats >= MOST_REPEATS:
        print_rank_zero(
            f"warning: a batch of {data.batch_size} has about {data.batch_size * repeats / 2:,.0f} pairs of images of "
            f"one class ({repeats:.1f} for each image, of {len(data.classnames)} classes), and positives=diagonal "
            "pushes each away from the other's caption; set positives=same_label, unless captions are of one image each"
        )


def _plugins(cfg: DictConfig) -> list[Any]:
    nodes = cfg.trainer.plugins
    with setting("trainer.plugins"):
        plugins: list[Any] = instantiate(nodes, _convert_="all")
    return plugins


def build_trainer(cfg: DictConfig, **kwargs: Any) -> pl.Trainer:
    """The trainer with its callbacks and loggers."""
    callbacks = [make(cfg, f"callbacks.{name}", pl.Callback) for name, _ in _entries(cfg, "callbacks")]
    loggers = [make(cfg, f"logger.{name}", Logger) for name, _ in _entries(cfg, "logger")]
    plugins = [AtomicCheckpointIO(), *_plugins(cfg), *kwargs.pop("plugins", ())]
    return _make_trainer(cfg, callbacks=callbacks, logger=loggers, plugins=plugins, **kwargs)


def build_evaluator(cfg: DictConfig) -> pl.Trainer:
    """The trainer of a command that evaluates: nothing is logged or saved."""
    return _make_trainer(cfg, logger=False, enable_checkpointing=False, callbacks=[Progress(refresh_rate=10)])


def _make_trainer(cfg: DictConfig, **options: Any) -> pl.Trainer:
    trainer: pl.Trainer = make(cfg, "trainer", pl.Trainer, **options)
    set_evaluation_precision(trainer, cfg.evaluation.precision)
    return meet_at_start(trainer, partial(resolved_settings, cfg), cfg.rendezvous)


def resolved_settings(cfg: DictConfig) -> dict[str, Any]:
    """All settings, resolved, as nested dictionaries."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return dict(settings)
