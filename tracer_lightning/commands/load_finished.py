"""The models that are merged: finished ones, and what they started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from tracer_lightning.config.backbones import finished_backbone
from tracer_lightning.config.checkpoint import own_settings, weights_file
from tracer_lightning.engine.run_folder import RESULTS
from tracer_lightning.evaluation.logits import check_head
from tracer_lightning.functional.lora_merge import merge
from tracer_lightning.models import Backbone, ClipModel
from tracer_lightning.models.heads import zero_shot_linear
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import has_teacher
from tracer_lightning.reporting.results import read_results

START = "start"
"""Setting, and key of results.json."""
REBUILD = "rebuild"
"""What ``merge.head`` may be beside ``interpolate``: evaluate with a zero-shot head of the merged text tower."""
REMEDY = "give the weights before fine-tuning as {}=, a path or NAME/TAG"


def read_model(cfg: DictConfig, checkpoint: str, setting: str, model: str = "student") -> Backbone:
    """A finished model of its own architecture, whose low-rank updates are merged.

    Args:
        cfg: says what of ``cfg.checkpoint``, and of weights alone.
        checkpoint: as ``checkpoint=`` may name it.
        setting: what the user set to name it, for errors.
        model: ``student`` or, of a run, ``teacher``.
    """
    settings = cfg
    if checkpoint != cfg.checkpoint:
        own: Any = own_settings(checkpoint, setting) or {"backbone": cfg.backbone}
        settings = OmegaConf.create(own)
    file = weights_file(checkpoint, setting)
    if model == "teacher" and (file is None or not has_teacher(file, setting)):
        raise ValueError(f"model=teacher: {checkpoint} holds none; choose model=student")
    backbone = finished_backbone(settings, file, setting, teacher=model == "teacher")
    merge(backbone.model)
    return backbone


def match_heads(
    cfg: DictConfig, start: ClipModel, tuned: Mapping[str, ClipModel], prompts: Tensor, device: torch.device
) -> None:
    """Give theta_0 the zero-shot head of its own text tower where the others have a head, or take those from them.

    theta_0 is the zero-shot model, whatever head the weights that a run started from bring along.

    Args:
        cfg: ``merge.head``, where the method has it, is ``interpolate`` or ``rebuild``.
        start: theta_0, changed in place.
        tuned: fine-tuned models by name, changed in place.
        prompts: (C, P, L) tokens of every template for every class.
        device: where these are encoded.

    Raises:
        ValueError: a head is of other classes than the data.
    """
    start.head = None
    if cfg.merge.get("head") == REBUILD:
        for model in tuned.values():
            model.head = None
    for name, model in tuned.items():
        check_head(name, model, len(prompts), ", or with wise_ft or fisher merge.head=rebuild")
    if any(model.head is not None for model in tuned.values()):
        head = zero_shot_linear(start.to(device).eval(), prompts.to(device))
        start.cpu().head = head.cpu()


def read_start(cfg: DictConfig, checkpoints: Sequence[str]) -> tuple[str, Backbone]:
    """What all these runs started from, or what ``start`` names: its name, and the model.

    Raises:
        ValueError: nobody says what it was, it is gone, or runs started from different weights.
    """
    origins = {cfg.start} if cfg.start is not None else {recorded_start(one, START) for one in checkpoints}
    if len(origins) > 1:
        several = ", ".join(sorted(origins))
        raise ValueError(f"{START} is not set, and there are several: {several}; {REMEDY.format(START)}")
    origin: str = origins.pop()
    return origin, read_model(cfg, origin, START)


def recorded_start(checkpoint: str, setting: str) -> str:
    """What a run started from, as ``setting`` might name it.

    Args:
        checkpoint: of the run.
        setting: what the user could have set to say it, for errors.

    Raises:
        ValueError: the run does not say, or it is gone.
    """
    file = weights_file(checkpoint)
    results = None if file is None else file.absolute().parent.parent / RESULTS
    recorded = read_results(results) if results is not None and results.is_file() else None
    remedy = REMEDY.format(setting)
    if recorded is None or START not in recorded.model_fields_set:
        raise ValueError(f"{setting} is not set, and no {RESULTS} of {checkpoint} says what it started from; {remedy}")
    origin = recorded.start
    if origin is None:
        return _of_backbone(checkpoint, setting)
    if not Path(origin).exists():
        raise ValueError(f"{setting} is not set, and {checkpoint} started from {origin}, which is gone; {remedy}")
    return origin


def _of_backbone(checkpoint: str, setting: str) -> str:
    """The name of the weights that a run's backbone brings."""
    backbone = (own_settings(checkpoint, "checkpoint") or {})["backbone"]
    name, tag = str(backbone.get("name")), backbone.get("pretrained")
    if tag is None and not name.startswith((FOLDER, HUB)):
        remedy = REMEDY.format(setting)
        raise ValueError(f"{setting} is not set, and {checkpoint} started from random weights; {remedy}")
    return name if tag is None else f"{name}/{tag}"
