"""Finished models, which commands evaluate, compare or merge, and the weights that they started from."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.checkpoint import own_settings, weights_file
from tracer_lightning.config.record import RECORDED
from tracer_lightning.config.type_checks import TARGET
from tracer_lightning.engine.run_folder import RESULTS, results_beside
from tracer_lightning.evaluation.logits import check_head
from tracer_lightning.models import Backbone, ClipModel, Model
from tracer_lightning.models.heads import zero_shot_linear
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.reporting.results_file import read_results

STUDENT, TEACHER = "student", "teacher"
ONLY = "model"
"""Name of a model that is neither a run's student nor its teacher."""
START = "start"
"""Setting that names the weights before fine-tuning, and their key in results.json."""
REBUILD = "rebuild"
"""Value of ``merge.head`` that evaluates with a zero-shot head of the merged text tower."""
REMEDY = "give the weights before fine-tuning as {}=, a path or NAME/TAG"


def names_in(checkpoint: str | None, setting: str) -> tuple[str, ...]:
    """Names of the models that a checkpoint holds: ``student`` and perhaps ``teacher`` of a run, else ``model``."""
    file = weights_file(checkpoint, setting)
    teacher = None if file is None else has_teacher(file, setting)
    if teacher is None:
        return (ONLY,)
    return (STUDENT, TEACHER) if teacher else (STUDENT,)


def load_models(cfg: DictConfig) -> dict[str, Backbone]:
    """Student and teacher of a run's checkpoint, or the one model that ``checkpoint`` and ``backbone`` name."""
    names = names_in(cfg.checkpoint, "checkpoint")
    selected = names if cfg.models is None else tuple(cfg.models)
    if not selected or not set(selected) <= set(names):
        raise ValueError(f"models must be null or some of {', '.join(names)}, found {list(selected)}")
    file = weights_file(cfg.checkpoint)
    return {name: finished_backbone(cfg, file, "checkpoint", teacher=name == TEACHER) for name in selected}


def display_names(checkpoints: Sequence[str], reserved: Collection[str] = ()) -> list[str]:
    """Names of checkpoints in tables: of their folders or files where these are distinct, else their paths.

    Args:
        checkpoints: paths, as the user gives them.
        reserved: names that tables use for other models.
    """
    names = [Path(checkpoint).name for checkpoint in checkpoints]
    return names if len({*names, *reserved}) == len(names) + len(reserved) else list(checkpoints)


def read_model(cfg: DictConfig, checkpoint: str, setting: str, model: str = STUDENT) -> Backbone:
    """A finished model of its own architecture, with low-rank updates merged into its weights.

    Args:
        cfg: settings of ``cfg.checkpoint``, and ``backbone`` for files that hold weights alone.
        checkpoint: run, file, folder or name, as ``checkpoint=`` takes it.
        setting: name of the setting that names the checkpoint, for messages.
        model: ``student`` or, of a run, ``teacher``.
    """
    settings = cfg
    if checkpoint != cfg.checkpoint:
        own: Any = own_settings(checkpoint, setting) or {"backbone": cfg.backbone}
        settings = OmegaConf.create(own)
    file = weights_file(checkpoint, setting)
    if model == TEACHER and (file is None or not has_teacher(file, setting)):
        raise ValueError(f"model=teacher: {checkpoint} holds none; choose model=student")
    backbone = finished_backbone(settings, file, setting, teacher=model == TEACHER)
    backbone.model.merge_updates()
    return backbone


def match_heads(
    cfg: DictConfig, start: Model, tuned: Mapping[str, Model], prompts: Tensor | None, device: torch.device
) -> None:
    """Make the heads of models that are merged comparable.

    Where the fine-tuned models have a head, the start gets the zero-shot head of its own text tower, whatever head its
    file holds: theta_0 is the zero-shot model. With ``merge.head=rebuild`` all heads are removed instead.

    Args:
        cfg: configuration whose ``merge.head``, if the method has it, is ``interpolate`` or ``rebuild``.
        start: theta_0, changed in place.
        tuned: fine-tuned models by name, changed in place.
        prompts: (C, P, L) tokens of every template for every class; None for data that have none.
        device: device that encodes the prompts.

    Raises:
        ValueError: a head has other classes than the data, or the start can't have a zero-shot head.
    """
    start.head = None
    if cfg.merge.get("head") == REBUILD:
        for model in tuned.values():
            model.head = None
    if all(model.head is None for model in tuned.values()):
        return
    if prompts is None or not isinstance(start, ClipModel):
        raise ValueError(f"models with heads are merged with a zero-shot head, which a {type(start).__name__} lacks")
    for name, model in tuned.items():
        check_head(name, model, len(prompts), ", or with wise_ft or fisher merge.head=rebuild")
    head = zero_shot_linear(start.to(device).eval(), prompts.to(device))
    start.cpu().head = head.cpu()


def read_start(cfg: DictConfig, checkpoints: Sequence[str]) -> tuple[str, Backbone]:
    """Name and model of the weights that all these runs started from, or that ``start`` names.

    Raises:
        ValueError: the start is not recorded, it no longer exists, or runs started from different weights.
    """
    origins = {cfg.start} if cfg.start is not None else {recorded_start(name, START) for name in checkpoints}
    if len(origins) > 1:
        names = ", ".join(sorted(origins))
        raise ValueError(f"{START} is not set, and there are several: {names}; {REMEDY.format(START)}")
    origin: str = origins.pop()
    return origin, read_model(cfg, origin, START)


def recorded_start(checkpoint: str, setting: str) -> str:
    """Path or name of the weights that a run started from, in the form that ``setting`` takes.

    Args:
        checkpoint: checkpoint or folder of the run.
        setting: name of the setting with which the user could give the start, for messages.

    Raises:
        ValueError: the run does not record its start, or the start no longer exists.
    """
    file = weights_file(checkpoint)
    results = None if file is None else results_beside(file)
    recorded = None if results is None else read_results(results)
    remedy = REMEDY.format(setting)
    if recorded is None or START not in recorded.model_fields_set:
        raise ValueError(f"{setting} is not set, and no {RESULTS} of {checkpoint} says what it started from; {remedy}")
    origin = recorded.start
    if origin is None:
        return _pretrained_name(checkpoint, setting)
    if not Path(origin).exists():
        raise ValueError(f"{setting} is not set, and {checkpoint} started from {origin}, which is gone; {remedy}")
    return origin


def _pretrained_name(checkpoint: str, setting: str) -> str:
    """Name of the pretrained weights that the backbone of a run loads."""
    backbone = (own_settings(checkpoint, "checkpoint") or {})["backbone"]
    remedy = REMEDY.format(setting)
    if backbone[TARGET] not in RECORDED["backbone"]:
        raise ValueError(f"{setting} is not set, and {checkpoint} started from its backbone's own weights; {remedy}")
    name, tag = str(backbone.get("name")), backbone.get("pretrained")
    if tag is None and not name.startswith((FOLDER, HUB)):
        raise ValueError(f"{setting} is not set, and {checkpoint} started from random weights; {remedy}")
    return name if tag is None else f"{name}/{tag}"
