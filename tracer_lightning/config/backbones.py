"""Models from a configuration, with the weights that they start from or that are evaluated."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from omegaconf import DictConfig
from open_clip.constants import HF_CONFIG_NAME

from tracer_lightning.config.build import make
from tracer_lightning.config.errors import setting
from tracer_lightning.config.type_checks import TARGET, target_of
from tracer_lightning.models import Backbone, Model, configure_compute, load_weights
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB, model_config
from tracer_lightning.models.weights import read_weights


def bare_backbone(cfg: DictConfig, weights_follow: bool) -> Backbone:
    """The architecture; its own pretrained weights are not fetched where others are loaded afterwards."""
    options = {"load_weights": False} if weights_follow and _loads_weights(cfg.backbone) else {}
    backbone: Backbone = make(cfg, "backbone", Backbone, **options)
    return backbone


def is_pretrained(backbone: DictConfig) -> bool:
    """Whether a backbone has weights of its own, rather than random ones."""
    if not _loads_weights(backbone):
        return False
    names_weights = backbone.get("pretrained", True) is not None  # a model without this setting always has weights
    return names_weights or str(backbone.get("name")).startswith((HUB, FOLDER))


def _loads_weights(backbone: DictConfig) -> bool:
    with setting("backbone"):
        return "load_weights" in inspect.signature(target_of(backbone.get(TARGET), "backbone")).parameters


def add_peft(cfg: DictConfig, model: Model) -> None:
    """Add the parameters of parameter-efficient fine-tuning, and freeze the others."""
    make(cfg, "peft.prepare", model=model)


def add_embedder(cfg: DictConfig, model: Model) -> None:
    """Put the embedder of another modality in the place of that of images; none is configured for images."""
    if cfg.embedder:
        make(cfg, "embedder", model=model)


def finished_backbone(cfg: DictConfig, file: Path | None, setting: str, teacher: bool = False) -> Backbone:
    """A finished model with the weights of a file or, without one, the pretrained weights of the backbone.

    The model is compared with the file before memory is allocated for it, since neither is trusted.

    Args:
        cfg: configuration with ``backbone`` and, optionally, ``peft`` and ``embedder``.
        file: checkpoint, state dict or safetensors.
        setting: name of the setting that names the file, for messages.
        teacher: whether to load the teacher of a checkpoint instead of its student.
    """
    if file is None:
        return bare_backbone(cfg, weights_follow=False)
    with torch.device("meta"):
        read_weights(_without_weights(cfg).model, file, setting, teacher)
    backbone = _without_weights(cfg)
    load_weights(backbone.model, file, setting, teacher)
    return backbone


def _without_weights(cfg: DictConfig) -> Backbone:
    backbone = bare_backbone(cfg, weights_follow=True)
    if "peft" in cfg:
        add_peft(cfg, backbone.model)
    if "embedder" in cfg:
        add_embedder(cfg, backbone.model)
    return backbone


def build_backbone(cfg: DictConfig, weights: Path | str | None) -> Backbone:
    """The model to train, with its weights loaded and the parameters of parameter-efficient fine-tuning."""
    backbone = bare_backbone(cfg, weights_follow=weights is not None)
    if weights is not None:
        _check_activation(backbone, Path(weights))
        load_weights(backbone.model, weights)
    return prepare_backbone(cfg, backbone)


def prepare_backbone(cfg: DictConfig, backbone: Backbone) -> Backbone:
    """Add the parameters of parameter-efficient fine-tuning to a model with its weights, and set how it computes."""
    add_peft(cfg, backbone.model)
    with setting("batch_norm"):
        backbone.model.freeze_batch_norm(cfg.batch_norm == "frozen")
    compute = cfg.compute
    with setting("compute"):
        configure_compute(backbone.model, compute.gradient_checkpointing, compute.channels_last, compute.micro_batch)
    return backbone


def _check_activation(backbone: Backbone, folder: Path) -> None:
    """Raise ValueError where an exported folder states another activation than the backbone: weights don't show it."""
    if not (folder / HF_CONFIG_NAME).is_file():
        return
    exported, own = (bool(c.get("quick_gelu")) for c in (model_config(f"{FOLDER}{folder}"), backbone.config))
    if exported != own:
        raise ValueError(
            f"init_weights={folder}: of a model with quick_gelu={exported}, and the backbone has {own}; choose another "
            "backbone= (names that end in -quickgelu have it)"
        )
