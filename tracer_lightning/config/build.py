"""Data module, module and trainer from a configuration."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf
from torch import nn

from tracer_lightning.callbacks import Progress
from tracer_lightning.config.errors import SettingError, SettingMemoryError, naming, setting, setting_error
from tracer_lightning.config.mixing import read_mix, with_auxiliary_set, without_mix
from tracer_lightning.config.type_checks import TARGET, check_values
from tracer_lightning.data import ClipDataModule, DataModule
from tracer_lightning.engine.console import print_rank_zero
from tracer_lightning.engine.features import training_features
from tracer_lightning.engine.precision import set_evaluation_precision, slow_bf16_warning
from tracer_lightning.engine.rendezvous import meet_at_start
from tracer_lightning.engine.settings import shortened
from tracer_lightning.evaluation import Suite
from tracer_lightning.losses import Term, WeightedSum
from tracer_lightning.models import Backbone, Model, freeze, train_last, train_parts
from tracer_lightning.module import TracerModule
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO
from tracer_lightning.teachers import Teacher

MANY_STEPS = 1_000_000
"""Length of a run in which a schedule is tried, beyond any warmup."""
DATA_CHECKS = (
    "prepare_data",
    "setup",
    "train_loader",
    "train_dataset",
    "shuffle_evaluation",
    "context",
    "suite_context",
    "check_losses",
)
"""Methods of data modules in which they check their arguments against the data; the errors name the setting."""
CONTEXT = {"prompts": "classes", "outputs": "values to predict", "captions": "captions"}
"""What data have, in words for messages, by its name in their context."""
EVALUATIONS = {
    "prompts": "evaluation=classification",
    "outputs": "that of their prediction, such as evaluation=regression",
    "captions": "evaluation=retrieval",
}
"""Evaluations that score what data have, by its name in their context."""


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


def _cause(cfg: DictConfig, error: InstantiationException) -> BaseException:
    """The innermost error, with the setting of the nested node that raised it."""
    inner: BaseException = error
    match: re.Match[str] | None = None
    while isinstance(inner, InstantiationException) and inner.__cause__ is not None:
        match, inner = re.search(r"full_key: (\S+)", str(inner)), inner.__cause__
    if match is None or isinstance(inner, SettingError | SettingMemoryError):
        return inner
    return setting_error(_source_key(cfg, match[1]), inner)


def add_head(cfg: DictConfig, model: Model, data: DataModule, trainer: pl.Trainer) -> None:
    """Give the model the head that it classifies with, made on the device of the run: prompts may be many."""
    if model.head is not None and cfg.head.name != "kept":
        print_rank_zero(
            f"the head of the initial weights is not used, because head={cfg.head.name}; head=kept keeps it"
        )
    device = trainer.strategy.root_device
    model.to(device)
    features = partial(training_features, trainer, model, data)
    context = move_data_to_device(data.context(), device)
    make_head = make(cfg, "head.module")
    _check_context(cfg, "head", make_head, {"features", *context})
    model.head = make_head(model, features=features, **context)
    model.to(device)  # whence the extraction of features took it


def _check_context(cfg: DictConfig, group: str, factory: Callable[..., Any], context: Collection[str]) -> None:
    """Raise ValueError where a head or anchors need what the data don't have, such as prompts of classes."""
    _, *parameters = inspect.signature(factory).parameters.values()  # after the model
    missing = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_KEYWORD
        and parameter.name not in context
    ]
    if missing:
        needs = " and ".join(CONTEXT.get(name, name) for name in missing)
        raise ValueError(
            f"{group}={cfg[group].name} needs {needs}, which these data don't have; {_remedy(group, context)}"
        )


def _remedy(group: str, context: Collection[str]) -> str:
    """What to choose in place of a head, or of anchors, that the data can't have."""
    if group == "head" and "outputs" in context:
        return "choose head=values or, for maps, head=pixels"
    if group == "head" and "prompts" in context:
        return "choose head=zero_shot or another head of classes"
    if group == "head":
        return "choose head=none with a method without a head, such as flyp, tracer or, for models that answer, sft"
    return f"choose {group}=none"


def build_sum(cfg: DictConfig, student: Model, groups: Sequence[str]) -> WeightedSum:
    """The weighted terms of these groups; those of ``distill_losses`` are multiplied by ``method.strength``.

    A partial term is made with the student as it is before training.
    """
    strength = _non_negative(cfg.method.strength, "method.strength")
    terms, weights = {}, {}
    for group in groups:
        for name, entry in _entries(cfg, group):
            if not isinstance(entry, DictConfig) or not ("term" in entry or set(entry) <= {"weight", "weights"}):
                raise ValueError(f"{group}.{name} must have weight and term, found {shortened(entry)}")
            is_complete = {"weight", "term"} <= set(entry)
            if not is_complete and not _has_class(entry.get("term", {})):
                continue  # an experiment's settings for methods that have this term
            key = f"{group}.{name}.term"
            term = make(cfg, key)
            if callable(term) and not isinstance(term, nn.Module):
                term = term(student)
            terms[name] = _of_kind(term, Term, key)
            weight = _non_negative(entry.get("weight"), f"{group}.{name}.weight")
            weights[name] = weight * strength if group == "distill_losses" else weight
    return WeightedSum(terms, weights, cfg.reproduce.distillation_from)


def _entries(cfg: DictConfig, group: str) -> list[tuple[str, Any]]:
    """Names and nodes of a group, without entries that are null."""
    return [(str(name), entry) for name, entry in cfg[group].items() if entry is not None]


def _has_class(term: Any) -> bool:
    """Whether the node of a term names a class, or is invalid, which :func:`make` reports."""
    return not isinstance(term, Mapping | DictConfig) or TARGET in term


def _non_negative(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{key} must be a number >= 0, found {value!r}")
    return float(value)


def build_data(cfg: DictConfig, backbone: Backbone) -> DataModule:
    """The data module for the backbone's inputs, of a command that does not train, and so has no auxiliary sets."""
    if cfg.data.get("mix") is not None:
        print_rank_zero("data.mix is ignored: it is for training")
    data = make_data(without_mix(cfg), "data", backbone)
    _check_samples(cfg, data, backbone)
    return data


def build_training_data(cfg: DictConfig, backbone: Backbone) -> DataModule:
    """The data module for the backbone's inputs, with the auxiliary sets of ``data.mix``."""
    mix = read_mix(cfg)
    data = make_data(without_mix(cfg), "data", backbone)
    _check_samples(cfg, data, backbone)
    if mix is not None:
        auxiliary = {
            name: make_data(*with_auxiliary_set(cfg, name), backbone, evaluates=False) for name in mix.pop("sets")
        }
        with setting("data.mix"):
            data.mix_in(auxiliary, **mix)
    return data


def _check_samples(cfg: DictConfig, data: DataModule, backbone: Backbone) -> None:
    """Raise ValueError where the embedder takes samples of another shape."""
    if not isinstance(data, ClipDataModule):
        return
    pixels = (3, backbone.spec.image_size, backbone.spec.image_size)
    expected = tuple(cfg.embedder.shape or data.sample_shape) if cfg.embedder else pixels
    if data.sample_shape != expected:
        remedy = "leave embedder.shape null" if cfg.embedder else "choose embedder=conv1d for series, conv2d for maps"
        raise ValueError(
            f"data: samples have the shape {data.sample_shape}, and the embedder takes {expected}; choose other data, "
            f"or {remedy}"
        )


def make_data(cfg: DictConfig, key: str, backbone: Backbone, **options: Any) -> DataModule:
    """The data module of a node for the backbone's inputs, whose errors name the node."""
    data: DataModule = make(cfg, key, DataModule, spec=backbone.spec, seed=cfg.seed, **options)
    for method in DATA_CHECKS:
        setattr(data, method, naming(key, getattr(data, method)))
    return data


def build_images(cfg: DictConfig, backbone: Backbone) -> ClipDataModule:
    """The data module of a command that compares images with classes."""
    data: ClipDataModule = _of_kind(build_data(cfg, backbone), ClipDataModule, "data")
    if not data.has_classes:
        raise ValueError(
            "data: these data have no training classes, which this command compares images with; choose data with "
            "classes"
        )
    return data


def check_optimization(cfg: DictConfig) -> None:
    """Try optimizer and schedule, so that mistakes in them show before the evaluation that precedes training."""
    optimizer = make(cfg, "optimizer")(nn.Linear(1, 1).parameters())
    make(cfg, "scheduler")(optimizer, MANY_STEPS)


def check_parts(cfg: DictConfig, student: Model) -> None:
    """Make the parts of a module that need no data, so that mistakes in them show before a prerequisite is trained.

    Args:
        cfg: configuration of a run.
        student: model with any weights.
    """
    make(cfg, "teacher.module")(student)
    for groups in (("task_loss", "distill_losses"), ("regularizers",)):
        build_sum(cfg, student, groups)


def build_module(
    cfg: DictConfig, backbone: Backbone, data: DataModule, before: nn.Module | None = None
) -> TracerModule:
    """Student, teacher and losses; what is not trained is frozen.

    Args:
        cfg: configuration of a run.
        backbone: the model to train.
        data: data module of the run.
        before: classifier of the features of the model before training, where it can't be zero-shot.
    """
    student = backbone.model
    with setting("method.train"):
        train_parts(student, cfg.method.train)
    with setting("method.freeze"):
        freeze(student, cfg.method.freeze)
    with setting("trainable_layers"):
        train_last(student, cfg.trainable_layers)
    if student.moves_frozen_statistics:
        print_rank_zero(
            "warning: training moves the BatchNorm statistics of frozen layers, too; batch_norm=frozen keeps them"
        )
    if cfg.teacher.get("lora_space") == "merged":
        with setting(f"teacher.lora_space=merged with peft={cfg.peft.name}"):
            student.check_merged_averages()
    loss = build_sum(cfg, student, ("task_loss", "distill_losses"))
    for warning in student.freeze_unread(loss.reads, anchored=bool(loss.with_anchors)):
        print_rank_zero(f"warning: {warning}")
    teacher: Teacher = make(cfg, "teacher.module")(student)
    if cfg.compute.compile:
        for model in (student, teacher.module):
            if model is not None:
                model.compile()
    device = next(student.parameters()).device
    context = data.suite_context()
    make_anchors = make(cfg, "anchors.module")
    _check_context(cfg, "anchors", make_anchors, data.context())
    anchors = make_anchors(student, **move_data_to_device(data.context(), device))
    if anchors is not None and not loss.with_anchors:
        print_rank_zero(f"anchors={cfg.anchors.name} is ignored: no term compares images with them")
        anchors = None
    options: dict[str, Any] = {} if before is None else {"before": before}
    parts: dict[str, Any] = {
        "regularizers": build_sum(cfg, student, ("regularizers",)),
        "optimizer": make(cfg, "optimizer"),
        "scheduler": make(cfg, "scheduler"),
        "validation": build_suite(cfg, "validation_suite", [data.val_set], context, ("student",)),
        "test": build_suite(cfg, "test_suite", data.eval_sets, context, ("student", "teacher"), **options),
    }
    with setting("method"):
        module = TracerModule(student=student, teacher=teacher, loss=loss, anchors=anchors, **parts)
    for warning in data.check_losses(module.reads, module.loss.terms.values()):
        print_rank_zero(f"warning: {warning}")
    return module


def build_suite(
    cfg: DictConfig,
    name: str,
    eval_sets: Sequence[Any],
    context: Mapping[str, Any],
    models: Sequence[str],
    **options: Any,
) -> Suite:
    """A suite of the group ``evaluation``.

    Args:
        cfg: configuration with ``evaluation``.
        name: ``validation_suite`` or ``test_suite``.
        eval_sets: data sets, in the order of their loaders.
        context: :meth:`tracer_lightning.data.DataModule.suite_context` of the data.
        models: names of the models to score.
        **options: arguments of the suite beside those of the configuration.

    Raises:
        ValueError: the suite is for other data.
    """
    key = f"evaluation.{name}"
    make_suite = make(cfg, key)
    parameters = inspect.signature(make_suite).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for part, evaluation in EVALUATIONS.items():
        if part in context and part not in parameters and not takes_all:
            raise ValueError(
                f"evaluation: the one chosen does not score data with {CONTEXT[part]}; choose {evaluation}"
            )
    suite: Suite = _of_kind(make_suite(eval_sets, models=models, **context, **options), Suite, key)
    return suite


def _plugins(cfg: DictConfig) -> list[Any]:
    nodes = cfg.trainer.plugins
    with setting("trainer.plugins"):
        plugins: list[Any] = instantiate(nodes, _convert_="all")
    return plugins


def build_trainer(cfg: DictConfig, callbacks: Sequence[pl.Callback] = (), plugins: Sequence[Any] = ()) -> pl.Trainer:
    """The trainer with its loggers, callbacks and plugins: those given come before those of the configuration."""
    configured = [make(cfg, f"callbacks.{name}", pl.Callback) for name, _ in _entries(cfg, "callbacks")]
    loggers = [make(cfg, f"logger.{name}", Logger) for name, _ in _entries(cfg, "logger")]
    return _make_trainer(
        cfg,
        callbacks=[*callbacks, *configured],
        logger=loggers,
        plugins=[AtomicCheckpointIO(), *_plugins(cfg), *plugins],
    )


def build_evaluator(cfg: DictConfig) -> pl.Trainer:
    """The trainer of a command that evaluates: nothing is logged or saved."""
    return _make_trainer(cfg, logger=False, enable_checkpointing=False, callbacks=[Progress(refresh_rate=10)])


def devices_of(cfg: DictConfig) -> tuple[int, int]:
    """Number of devices on each machine of a run, each of which has a process, and number of machines."""
    environment = LightningEnvironment()  # others would compare these numbers with what they have started
    trainer: pl.Trainer = make(
        cfg, "trainer", pl.Trainer, logger=False, enable_checkpointing=False, plugins=[environment]
    )
    return trainer.num_devices, trainer.num_nodes


def _make_trainer(cfg: DictConfig, **options: Any) -> pl.Trainer:
    trainer: pl.Trainer = make(cfg, "trainer", pl.Trainer, **options)
    set_evaluation_precision(trainer, cfg.evaluation.precision)
    keys = ("trainer.precision", "teacher.precision", "evaluation.precision")
    precisions = {key: str(OmegaConf.select(cfg, key, default="")) for key in keys}
    if warning := slow_bf16_warning(trainer.strategy.root_device, precisions):
        print_rank_zero(f"warning: {warning}")
    return meet_at_start(trainer, partial(resolved_settings, cfg), cfg.rendezvous_timeout)


def resolved_settings(cfg: DictConfig) -> dict[str, Any]:
    """All settings, resolved, as nested dictionaries."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    return dict(settings)
