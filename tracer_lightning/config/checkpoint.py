"""What ``checkpoint=`` may name, and the settings that come with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
from omegaconf import DictConfig, OmegaConf, open_dict
from open_clip.constants import HF_CONFIG_NAME

from tracer_lightning.config.saved_settings import group_settings
from tracer_lightning.engine.settings import saved_settings
from tracer_lightning.evaluation import METRICS
from tracer_lightning.models import read_checkpoint
from tracer_lightning.models.files import weights_path
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB

OPTION = "checkpoint"
"""Option of a group whose settings come with the checkpoint."""
MODEL, DATA = ("backbone", "peft"), ("data", "suite")
"""Groups with such an option."""
LOAD = "tracer_lightning.models.load_clip"
KEY = f"{OPTION}="
SEVERAL = ("first", "checkpoints")
"""Settings that name several models, the first of which is the checkpoint."""


def weights_file(checkpoint: str | None, setting: str = OPTION) -> Path | None:
    """The file of weights that ``checkpoint`` names; None where open_clip finds them by a name.

    Args:
        checkpoint: file, folder or name.
        setting: what the user set to name it, for errors.
    """
    if checkpoint is None or reference(checkpoint) is not None:
        return None
    return weights_path(Path(checkpoint), setting)


def start_path(init_weights: str | None) -> Path | None:
    """The file or folder of weights that ``init_weights`` names, which ``checkpoint=`` would take, too.

    Raises:
        ValueError: it is the name of a model.
    """
    if not init_weights:
        return None
    named = reference(init_weights)
    if named is None:
        return Path(init_weights)
    name, tag = named
    if name.startswith(FOLDER):
        return Path(name.removeprefix(FOLDER))
    remedy = f"backbone.name={name}" if tag is None else f"backbone.name={name} backbone.pretrained={tag}"
    raise ValueError(f"init_weights={init_weights}: the name of a model, and no file; choose it as {remedy}")


def reference(checkpoint: str) -> tuple[str, str | None] | None:
    """Name and tag for open_clip: a reference, an exported folder, or ``NAME/TAG``; None where it is a file or run."""
    if checkpoint.startswith((FOLDER, HUB)):
        return checkpoint, None
    path = Path(checkpoint)
    if (path / HF_CONFIG_NAME).is_file():
        return f"{FOLDER}{path}", None
    name, _, tag = checkpoint.partition("/")
    if not path.exists() and name in open_clip.list_models():
        return name, tag or None
    return None


def inherit_checkpoint_config(arguments: Sequence[str], evaluated: bool, headed: bool = True) -> list[str]:
    """Command-line arguments that choose ``checkpoint`` in the groups whose settings come with the checkpoint.

    A run's checkpoint brings its backbone, and its data and suite unless others are asked for; an exported model or
    an open_clip name brings its backbone. What Hydra composes holds none of it: :func:`with_checkpoint` fills it in.

    Args:
        arguments: the command line.
        evaluated: whether data are of use.
        headed: whether the metric that tables put first is of use where data are.
    """
    checkpoints = [argument.removeprefix(KEY).strip("'\"") for argument in arguments if argument.startswith(KEY)]
    if not checkpoints or checkpoints[-1] in ("", "null"):
        return list(arguments)
    checkpoint = checkpoints[-1]
    named = next((key for key in SEVERAL if any(argument.startswith(f"{key}=") for argument in arguments)), OPTION)
    if reference(checkpoint) is not None and _chosen(arguments, "backbone"):
        raise ValueError(f"checkpoint={checkpoint} is a whole model, and backbone= another; give one of them")
    if "," in checkpoint and reference(checkpoint) is None and not Path(checkpoint).exists():
        raise ValueError(f"checkpoint={checkpoint}: one at a time")
    settings = _settings(checkpoint, named)
    if settings is None:
        return list(arguments)  # weights alone: backbone= says of what
    groups = [group for group in MODEL if group in settings]
    whole_run = reference(checkpoint) is None
    if evaluated and whole_run and not _chosen(arguments, "data"):
        groups += DATA
    brought = {group: _brought(settings, group, f"{named}={checkpoint}") for group in groups}
    chosen = [f"{group}={OPTION}" for group in groups if not _chosen(arguments, group)]
    headline = settings.get("primary_metric")
    known = evaluated and headed and isinstance(headline, str) and headline in METRICS
    values = [f"primary_metric={headline}"] if known else []
    return [arguments[0], *chosen, *values, *(_overriding(argument, brought) for argument in arguments[1:])]


def with_checkpoint(cfg: DictConfig, choices: Mapping[str, str]) -> DictConfig:
    """The configuration with what its checkpoint brings, below what the user has set.

    Args:
        cfg: as composed; changed in place.
        choices: the option chosen in each group.
    """
    adopted = [group for group in (*MODEL, *DATA) if choices.get(group) == OPTION]
    if not adopted:
        return cfg
    checkpoint = cfg.get(OPTION)
    settings = None if checkpoint is None else _settings(checkpoint, OPTION)
    if settings is None:
        raise ValueError(f"{adopted[0]}={OPTION}: no checkpoint is named that brings it; give one as checkpoint=")
    with open_dict(cfg):
        for group in adopted:
            brought = _brought(settings, group, f"{OPTION}={checkpoint}")
            cfg[group] = OmegaConf.merge(brought, cfg[group])
    return cfg


def own_settings(checkpoint: str, setting: str) -> dict[str, Any] | None:
    """The settings ``backbone`` and ``peft`` that a run's checkpoint has, or ``backbone`` for the name of a model.

    Args:
        checkpoint: as ``checkpoint=`` may name it.
        setting: what the user set to name it, for errors.

    Returns:
        None where it is weights alone.
    """
    settings = _settings(checkpoint, setting)
    if settings is None:
        return None
    return {group: _brought(settings, group, f"{setting}={checkpoint}") for group in MODEL if group in settings}


def _settings(checkpoint: str, setting: str) -> dict[str, Any] | None:
    """What a checkpoint, or the name of a model, says of groups; None where it is weights alone."""
    if (by_name := reference(checkpoint)) is not None:
        name, tag = by_name
        if tag is None and ":" not in name:
            raise ValueError(f"{setting}={name}: give a tag, too: {name}/TAG (open_clip.list_pretrained())")
        return {"backbone": {"_target_": LOAD, "name": name, "pretrained": tag}}
    file = weights_file(checkpoint, setting)
    assert file is not None
    settings = saved_settings(read_checkpoint(file, setting), f"{setting}={checkpoint}")
    return settings if "backbone" in settings else None


def _brought(settings: Mapping[str, Any], group: str, where: str) -> dict[str, Any]:
    if group == "suite" and settings.get(group) is None:  # data that have their own test sets
        return {}
    return group_settings(settings, group, where)


def _overriding(argument: str, brought: Mapping[str, Any]) -> str:
    """The argument as Hydra accepts it of a setting that the checkpoint will bring."""
    match = re.fullmatch(r"(~?)([\w.-]+)(=.*)?", argument, re.DOTALL)
    if match is None:
        return argument
    removed, key, value = match.groups()
    node: Any = brought
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return argument
        node = node[part]
    if "." not in key or (value is None) != bool(removed):
        return argument
    return f"++{key}=null" if removed else f"++{key}{value}"


def _chosen(arguments: Sequence[str], group: str) -> bool:
    options = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{group}=")]
    return any(option != OPTION for option in options)
