"""Checkpoints, files and names that ``checkpoint=`` takes, and the settings that they bring along."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
from omegaconf import DictConfig, OmegaConf, open_dict
from open_clip.constants import HF_CONFIG_NAME

from tracer_lightning.config.saved_settings import EVALUATION, group_settings, names_own_class
from tracer_lightning.engine.settings import saved_settings
from tracer_lightning.models import read_checkpoint
from tracer_lightning.models.files import weights_path
from tracer_lightning.models.open_clip.pretrained import FOLDER, HUB
from tracer_lightning.scores import METRICS

OPTION = "checkpoint"
"""Option of a group whose settings are those of the checkpoint."""
MODEL, DATA = ("backbone", "peft", "embedder"), ("data", "suite")
"""Groups of the model and of the data with this option."""
METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
"""Names of metrics, which are identifiers."""
LOAD = "tracer_lightning.models.load_clip"
KEY = f"{OPTION}="
LIST_SETTINGS = ("first", "checkpoints")
"""Settings that list several models, the first of which is the checkpoint."""


def weights_file(checkpoint: str | None, setting: str = OPTION) -> Path | None:
    """The file of weights that ``checkpoint`` names; None for a name that open_clip resolves.

    Args:
        checkpoint: file, folder or name.
        setting: name of the setting that names the checkpoint, for messages.
    """
    if checkpoint is None or reference(checkpoint) is not None:
        return None
    return weights_path(Path(checkpoint), setting)


def start_path(init_weights: str | None) -> Path | None:
    """The file or folder of weights that ``init_weights`` names; ``checkpoint`` takes the same forms.

    Raises:
        ValueError: it is the name of a pretrained model, which the backbone loads.
    """
    if not init_weights:
        return None
    model = reference(init_weights)
    if model is None:
        return Path(init_weights)
    name, tag = model
    if name.startswith(FOLDER):
        return Path(name.removeprefix(FOLDER))
    remedy = f"backbone.name={name}" if tag is None else f"backbone.name={name} backbone.pretrained={tag}"
    raise ValueError(f"init_weights={init_weights}: the name of a model, and no file; choose it as {remedy}")


def reference(checkpoint: str) -> tuple[str, str | None] | None:
    """open_clip's name and tag for a reference, an exported folder, or ``NAME/TAG``; None for a file or a run."""
    if checkpoint.startswith((FOLDER, HUB)):
        return checkpoint, None
    path = Path(checkpoint)
    if (path / HF_CONFIG_NAME).is_file():
        return f"{FOLDER}{path}", None
    name, _, tag = checkpoint.partition("/")
    if not path.exists() and name in open_clip.list_models():
        return name, tag or None
    return None


def inherit_checkpoint_config(
    arguments: Sequence[str], evaluated: bool, scored: bool = True, embedded: bool = False
) -> list[str]:
    """The command line with the option ``checkpoint`` chosen in the groups whose settings the checkpoint brings.

    A run's checkpoint brings its backbone, and its data and suite unless ``data`` is given; an exported model or an
    open_clip name brings its backbone. A run whose suite is not one of this package brings that, too. Hydra composes
    these groups empty, and :func:`with_checkpoint` fills them in.

    Args:
        arguments: the command line.
        evaluated: whether the command uses data.
        scored: whether a command that uses data scores models, and so has ``evaluation`` and ``primary_metric``.
        embedded: whether the command embeds samples of its own, which are standardized by the data of a run with an
            embedder.
    """
    checkpoints = [argument.removeprefix(KEY).strip("'\"") for argument in arguments if argument.startswith(KEY)]
    if not checkpoints or checkpoints[-1] in ("", "null"):
        return list(arguments)
    checkpoint = checkpoints[-1]
    setting = next(
        (key for key in LIST_SETTINGS if any(argument.startswith(f"{key}=") for argument in arguments)), OPTION
    )
    if reference(checkpoint) is not None and _chosen(arguments, "backbone"):
        raise ValueError(f"checkpoint={checkpoint} is a whole model, and backbone= another; give one of them")
    if "," in checkpoint and reference(checkpoint) is None and not Path(checkpoint).exists():
        raise ValueError(f"checkpoint={checkpoint}: one at a time")
    settings = _settings(checkpoint, setting)
    if settings is None:
        return list(arguments)  # a file of weights alone: backbone= gives the architecture
    groups = [group for group in MODEL if settings.get(group)]
    if evaluated and reference(checkpoint) is None and not _chosen(arguments, "data"):
        groups += DATA
    if embedded and settings.get("embedder"):
        groups.append("data")
    if evaluated and scored and names_own_class(settings, EVALUATION):
        groups.append(EVALUATION)
    groups = [group for group in groups if not _chosen(arguments, group)]
    brought = {group: _keys_brought(settings, group, f"{setting}={checkpoint}") for group in groups}
    chosen = [f"{group}={OPTION}" for group in groups]
    values = _primary_metric(settings, arguments) if evaluated and scored else []
    place = arguments.index(next(argument for argument in arguments if argument.startswith(KEY)))
    overridden = [_overriding(argument, brought) for argument in arguments]
    # beside the checkpoint, because Hydra's parser takes no settings both before and after an option
    return [*overridden[:place], *chosen, *values, *overridden[place:]]


def _primary_metric(settings: Mapping[str, Any], arguments: Sequence[str]) -> list[str]:
    """The override for the primary metric of a run, unless the user chooses one or the suite in use lacks it."""
    metric = settings.get("primary_metric")
    if _chosen(arguments, "primary_metric") or not isinstance(metric, str) or not METRIC.fullmatch(metric):
        return []
    own_suite = names_own_class(settings, EVALUATION) or _chosen(arguments, EVALUATION)
    return [f"primary_metric={metric}"] if own_suite or metric in METRICS else []


def with_checkpoint(cfg: DictConfig, choices: Mapping[str, str]) -> DictConfig:
    """The configuration with the settings that its checkpoint brings; those that the user has set take precedence.

    Args:
        cfg: composed configuration, changed in place.
        choices: chosen option of each group.
    """
    groups = [group for group in (*MODEL, *DATA, EVALUATION) if choices.get(group) == OPTION]
    if not groups:
        return cfg
    checkpoint = cfg.get(OPTION)
    settings = None if checkpoint is None else _settings(checkpoint, OPTION)
    if settings is None:
        raise ValueError(f"{groups[0]}={OPTION}: no checkpoint is named that brings it; give one as checkpoint=")
    with open_dict(cfg):
        for group in groups:
            brought = _brought(settings, group, f"{OPTION}={checkpoint}")
            cfg[group] = OmegaConf.merge(brought, cfg[group])
    return cfg


def with_recorded_data(cfg: DictConfig) -> DictConfig:
    """A copy of the configuration with the data and test sets of the run that its checkpoint belongs to.

    Raises:
        ValueError: the checkpoint is of no run, or its data are not described as a run describes them.
    """
    where = f"{OPTION}={cfg.checkpoint}"
    settings = _settings(cfg.checkpoint, OPTION)
    if settings is None or settings.get("data") is None:
        raise ValueError(f"{where}: these are weights without the settings of a run")
    groups = {group: _brought(settings, group, where) for group in DATA}
    content: dict[Any, Any] = {**cfg, "seed": 0, **groups}
    merged = OmegaConf.create(content)
    if "num_workers" in merged.data:
        merged.data.num_workers = 0  # a few images are read
    return merged


def own_settings(checkpoint: str, setting: str) -> dict[str, Any] | None:
    """The groups ``backbone``, ``peft`` and ``embedder`` of a run's checkpoint, or ``backbone`` of a named model.

    Args:
        checkpoint: run, file, folder or name, as ``checkpoint`` takes it.
        setting: name of the setting that names the checkpoint, for messages.

    Returns:
        None for a file of weights alone.
    """
    settings = _settings(checkpoint, setting)
    if settings is None:
        return None
    return {group: _brought(settings, group, f"{setting}={checkpoint}") for group in MODEL if settings.get(group)}


def _settings(checkpoint: str, setting: str) -> dict[str, Any] | None:
    """Settings that a checkpoint, or the name of a model, brings; None for a file of weights alone."""
    if (model := reference(checkpoint)) is not None:
        name, tag = model
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


def _keys_brought(settings: Mapping[str, Any], group: str, where: str) -> dict[str, Any]:
    """Settings of a group of which only the keys are used, since Hydra, which knows the user's YAML, is not set up."""
    return settings[group] if names_own_class(settings, group) else _brought(settings, group, where)


def _overriding(argument: str, brought: Mapping[str, Any]) -> str:
    """The argument in the form in which Hydra accepts it for a setting that is composed empty and filled in later."""
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
