"""What ``checkpoint=`` may name, and the settings that come with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import open_clip
from hydra.core.config_store import ConfigStore
from open_clip.constants import HF_CONFIG_NAME

from tracer_lightning import data
from tracer_lightning.evaluation import METRICS
from tracer_lightning.models import read_checkpoint
from tracer_lightning.models.pretrained import FOLDER, HUB
from tracer_lightning.models.weights import CHECKPOINT

OPTION = "checkpoint"
"""Option of a group whose settings come with the checkpoint."""
LOAD = "tracer_lightning.models.load_clip"
CALLED = {
    *(f"tracer_lightning.models.{name}" for name in ("build_clip", "load_clip")),
    *(f"tracer_lightning.models.peft.{name}" for name in ("full", "train_only", "add_lora", "add_adapters")),
    *(f"tracer_lightning.data.{name}" for name in data.__all__),
}
"""What the settings of a checkpoint may call."""
KEY = f"{OPTION}="
SEVERAL = ("first", "checkpoints")
"""Settings that name several models, the first of which is the checkpoint."""
DEEPEST = 20
"""How deep settings may be nested."""
CONTINUED = {
    "hyper_parameters": dict,
    "state_dict": dict,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "epoch": int,
    "global_step": int,
    "total_steps": int | None,
}
"""What a checkpoint holds that a run continues from."""


def weights_file(checkpoint: str | None) -> Path | None:
    """The file of weights that ``checkpoint`` names; None where open_clip finds them by a name."""
    path = Path(checkpoint or "")
    if checkpoint is None or reference(checkpoint) is not None:
        return None
    return path / CHECKPOINT if path.is_dir() else path


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


def adopt(arguments: Sequence[str], evaluated: bool, headed: bool = True) -> list[str]:
    """Command-line arguments with the options that the checkpoint among them brings along.

    A run's checkpoint brings its backbone, and its data and suite unless others are asked for; an exported model or
    an open_clip name brings its backbone. They become options ``checkpoint`` of their groups.

    Args:
        arguments: the command line.
        evaluated: whether data are of use.
        headed: whether the metric that tables put first is of use where data are.
    """
    given = [argument.removeprefix(KEY).strip("'\"") for argument in arguments if argument.startswith(KEY)]
    if not given or given[-1] in ("", "null"):
        return list(arguments)
    checkpoint = given[-1]
    if found := reference(checkpoint):
        if _chosen(arguments, "backbone"):
            raise ValueError(f"checkpoint={checkpoint} is a whole model, and backbone= another; give one of them")
        return _with(arguments, {"backbone": _by_name(*found, OPTION)})
    file = weights_file(checkpoint)
    assert file is not None
    if "," in checkpoint and not file.exists():
        raise ValueError(f"checkpoint={checkpoint}: one at a time")
    named = next((key for key in SEVERAL if any(argument.startswith(f"{key}=") for argument in arguments)), OPTION)
    settings = read_checkpoint(file, named).get("hyper_parameters")
    if not isinstance(settings, Mapping) or "backbone" not in settings:
        return list(arguments)  # weights alone: backbone= says of what
    groups = {"backbone": settings["backbone"], **({"peft": settings["peft"]} if "peft" in settings else {})}
    if evaluated and not _chosen(arguments, "data"):
        groups |= {"data": settings.get("data"), "suite": settings.get("suite", {})}
    headline = settings.get("headline")
    known = evaluated and headed and isinstance(headline, str) and headline in METRICS
    return _with(arguments, groups, [f"headline={headline}"] if known else [])


def own_settings(checkpoint: str, setting: str) -> dict[str, Any] | None:
    """The settings ``backbone`` and ``peft`` that a run's checkpoint has, or ``backbone`` for the name of a model.

    Args:
        checkpoint: as ``checkpoint=`` may name it.
        setting: what the user set to name it, for errors.

    Returns:
        None where it is weights alone.
    """
    if found := reference(checkpoint):
        return {"backbone": _by_name(*found, setting)}
    file = weights_file(checkpoint)
    assert file is not None
    settings = read_checkpoint(file, setting).get("hyper_parameters")
    if not isinstance(settings, Mapping) or "backbone" not in settings:
        return None
    own = {group: settings[group] for group in ("backbone", "peft") if group in settings}
    for group, node in own.items():
        _check_harmless(node, group)
    return own


def check_continued(saved: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError unless a run may continue from a checkpoint, wherever it is from.

    Lightning removes the files that a checkpoint calls its own, or better ones, when it writes the next: they must not
    lead out of the run's folder.
    """
    if any(key not in saved or not isinstance(saved[key], kind) for key, kind in CONTINUED.items()):
        raise ValueError(f"resume={path}: no checkpoint of a run of this project; use init_weights= for weights")
    for text in _texts(saved["callbacks"], path):
        if "://" in text or "::" in text or ".." in Path(text).parts:
            raise ValueError(
                f"resume={path}: it names the file {text}, out of its folder; use init_weights= for weights"
            )


def _texts(node: Any, path: Path, depth: int = 0) -> Iterator[str]:
    """All strings in nested containers."""
    if depth > DEEPEST:
        raise ValueError(f"resume={path}: its state is nested {DEEPEST} times and more")
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for entry in (*node, *node.values()):
            yield from _texts(entry, path, depth + 1)
    elif isinstance(node, list | tuple | set):
        for entry in node:
            yield from _texts(entry, path, depth + 1)


def _by_name(name: str, tag: str | None, setting: str) -> dict[str, Any]:
    """The group ``backbone`` for a model that open_clip finds."""
    if tag is None and ":" not in name:
        raise ValueError(f"{setting}={name}: give a tag, too: {name}/TAG (open_clip.list_pretrained())")
    return {"_target_": LOAD, "name": name, "pretrained": tag}


def _check_harmless(node: Any, group: str, depth: int = 0) -> None:
    """A file from elsewhere must not choose what is called, nor read this machine's environment."""
    if depth > DEEPEST:
        raise ValueError(f"checkpoint: its settings are nested {DEEPEST} times and more; set {group}= yourself")
    if isinstance(node, Mapping):
        target = node.get("_target_")
        unknown = [key for key in node if str(key).startswith("_") and key != "_target_"]
        if unknown or (target is not None and not (isinstance(target, str) and target in CALLED)):
            raise ValueError(f"checkpoint: its settings call {target or unknown[0]}; set {group}= yourself")
        for value in node.values():
            _check_harmless(value, group, depth + 1)
    elif isinstance(node, list | tuple):
        for value in node:
            _check_harmless(value, group, depth + 1)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"checkpoint: its settings refer to {node}; set {group}= yourself")
    elif not isinstance(node, str | bool | int | float | None):
        raise ValueError(f"checkpoint: its settings hold a {type(node).__name__}; set {group}= yourself")


def _chosen(arguments: Sequence[str], group: str) -> bool:
    options = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"{group}=")]
    return any(option != OPTION for option in options)


def _with(arguments: Sequence[str], groups: Mapping[str, Any], values: Sequence[str] = ()) -> list[str]:
    """Register the groups' options, and choose those that the user chose none of."""
    store = ConfigStore.instance()
    chosen = []
    for group, node in groups.items():
        if not isinstance(node, Mapping):
            raise ValueError(f"checkpoint: its settings have no {group}; set {group}= yourself")
        _check_harmless(node, group)
        followed = {"suite": "${suite}"} if group == "data" and "suite" in node else {}
        store.store(group=group, name=OPTION, node={**node, **followed})
        if not _chosen(arguments, group):
            chosen.append(f"{group}={OPTION}")
    return [arguments[0], *chosen, *values, *arguments[1:]]
