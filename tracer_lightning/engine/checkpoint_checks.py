"""Checks of the content of a checkpoint that a run is to resume from, before the run writes anything.

Whether the file is safe to read is checked when it is read (:func:`tracer_lightning.models.files.read_checkpoint`).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from packaging.version import InvalidVersion, Version
from torch import Tensor

from tracer_lightning.engine.settings import MAX_DEPTH, saved_settings
from tracer_lightning.models.weights import check_plain
from tracer_lightning.module import TracerModule

ENTRIES = {
    "hyper_parameters": dict,
    "state_dict": dict,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "epoch": int,
    "global_step": int,
    "total_steps": int | None,
    "pytorch-lightning_version": str,
}
"""Entries that a checkpoint must have for a run to continue from it, and their types."""
OLDEST, NEXT_MAJOR = Version("2.6"), Version("3")
"""Range of the versions of Lightning whose checkpoints can be continued; the upper end is excluded."""
UNCHECKED_SUFFIX = "state_dict"
"""Suffix of entries of Lightning's loops that hold the state of data loaders, whose form is not known."""
STEP_PATH = ("fit_loop", "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step", "total", "completed")
"""Path of the number of optimizer steps in the state of Lightning's loops."""
RESTORING_FUNCTIONS = ("resume_start", "_restore_modules_and_callbacks", "restore_training_state")
"""Names of Lightning's functions that restore a checkpoint."""


def check_content(saved: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError unless a checkpoint has the entries that a run of this project writes, of plain, finite values.

    Lightning deletes the files that a checkpoint lists as its best and last models when it writes the next one, so
    their paths must not lead out of the run's folder.

    Args:
        saved: content of the checkpoint.
        path: path of the checkpoint, for messages.
    """
    where = f"resume={path}"
    if any(key not in saved or not isinstance(saved[key], kind) for key, kind in ENTRIES.items()):
        raise ValueError(f"{where}: no checkpoint of a run of this project; other weights can only be initial weights")
    _check_version(saved["pytorch-lightning_version"], where)
    if min(saved["epoch"], saved["global_step"]) < 0 or (saved["total_steps"] is not None and saved["total_steps"] < 1):
        raise ValueError(f"{where}: its epoch, step or number of steps is negative; continue from another checkpoint")
    saved_settings(saved, where)
    for key, value in saved.items():
        if key != "hyper_parameters":
            _check_state(value, f"{where}: {key}")
    for text in _strings(saved["callbacks"]):
        if "://" in text or "::" in text or ".." in Path(text).parts:
            raise ValueError(
                f"{where}: it names the file {text}, outside of its folder; start a new run from its weights"
            )


def check_restorable(saved: Mapping[str, Any], path: Path, trainer: pl.Trainer, module: TracerModule) -> None:
    """Raise ValueError unless the state in a checkpoint has the form that this run itself would save.

    Args:
        saved: content of a checkpoint that has passed :func:`check_content`.
        path: path of the checkpoint, for messages.
        trainer: trainer of this run, before it trains.
        module: module of this run, before it is trained.
    """
    where = f"resume={path}"
    _compare(_loops(trainer), saved["loops"], f"{where}: loops")
    steps: Any = saved["loops"]
    for key in STEP_PATH:
        steps = steps[key]
    if steps != saved["global_step"]:
        raise ValueError(f"{where}: its loops are at step {steps}, and the checkpoint at {saved['global_step']}")
    _check_weights(module.state_dict(), saved["state_dict"], f"{where}: state_dict")
    callbacks: Any = trainer
    for callback in callbacks.callbacks:
        if callback.state_key in saved["callbacks"]:
            state = saved["callbacks"][callback.state_key]
            _compare_values(callback.state_dict(), state, f"{where}: callbacks.{callback.state_key}")
    if saved["total_steps"] is not None:
        _check_optimizer(saved, module, where)


@contextmanager
def restoring(path: Path | None) -> Iterator[None]:
    """Turn errors that Lightning or torch raise while they restore the checkpoint into a ValueError that names it."""
    try:
        yield
    except Exception as error:  # a damaged state can make Lightning and torch raise anything
        names = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
        if path is None or isinstance(error, ValueError | OSError) or not names & set(RESTORING_FUNCTIONS):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"resume={path}: its state can't be restored ({type(error).__name__}: {reason})") from error


def _check_version(text: str, where: str) -> None:
    try:
        supported = OLDEST <= Version(text) < NEXT_MAJOR
    except InvalidVersion:
        supported = False
    if not supported:
        raise ValueError(
            f"{where}: it is of Lightning {text[:50]!r}, and {OLDEST} to below {NEXT_MAJOR} can be continued; "
            "start a new run from its weights"
        )


def _check_state(node: Any, where: str, depth: int = 0) -> None:
    """Raise ValueError unless the node is a plain value, a finite tensor, or a container of these."""
    if depth > MAX_DEPTH:
        raise ValueError(f"{where}: nested more than {MAX_DEPTH} deep")
    if isinstance(node, Tensor):
        check_plain({where: node}, where)
        if not bool(node.isfinite().all()):
            raise ValueError(f"{where}: not all of its numbers are finite; continue from another checkpoint")
    elif isinstance(node, Mapping):
        for key, value in node.items():
            _check_state(value, f"{where}.{str(key)[:100]}", depth + 1)
    elif isinstance(node, list | tuple | set):
        for value in node:
            _check_state(value, where, depth + 1)
    elif not isinstance(node, str | bool | int | float | None):
        raise ValueError(f"{where}: holds a {type(node).__name__}")


def _strings(node: Any) -> Iterator[str]:
    """All strings in nested containers."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for entry in (*node, *node.values()):
            yield from _strings(entry)
    elif isinstance(node, list | tuple | set):
        for entry in node:
            yield from _strings(entry)


def _loops(trainer: pl.Trainer) -> dict[str, Any]:
    """Progress of a trainer's loops, in the form in which Lightning saves it."""
    loops: Any = {
        "fit_loop": trainer.fit_loop,
        "validate_loop": trainer.validate_loop,
        "test_loop": trainer.test_loop,
        "predict_loop": trainer.predict_loop,
    }
    return {name: loop.state_dict() for name, loop in loops.items()}


def _compare(own: Any, saved: Any, where: str) -> None:
    """Raise ValueError unless both have the same structure: keys, lengths of lists, and types of values."""
    if isinstance(own, Mapping):
        if not isinstance(saved, Mapping) or own.keys() != saved.keys():
            raise ValueError(f"{where}: not as this version of Lightning writes it; start a new run from its weights")
        for key, value in own.items():
            if not str(key).endswith(UNCHECKED_SUFFIX):
                _compare(value, saved[key], f"{where}.{key}")
    elif isinstance(own, list | tuple):
        if not isinstance(saved, list | tuple) or len(own) != len(saved):
            raise ValueError(f"{where}: must be a list of {len(own)}")
        for value, entry in zip(own, saved, strict=True):
            _compare(value, entry, where)
    elif isinstance(own, str):
        if not isinstance(saved, str):
            raise ValueError(f"{where}: must be text, found {saved!r:.100}")
    elif isinstance(own, bool | None):
        if not isinstance(saved, bool | None):
            raise ValueError(f"{where}: must be true, false or null, found {saved!r:.100}")
    elif isinstance(own, int | float):
        _check_number(saved, isinstance(own, int), where)


def _check_number(value: Any, is_count: bool, where: str) -> None:
    """Raise ValueError unless the value is a number or, where a count is needed, a whole number >= 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value)
    if not is_number or (is_count and not (isinstance(value, int) and 0 <= value < 1 << 62)):
        kind = "whole number >= 0" if is_count else "number"
        raise ValueError(f"{where}: must be a {kind}, found {value!r:.100}")


def _compare_values(own: Mapping[str, Any], saved: Any, where: str) -> None:
    """Raise ValueError unless both have the same keys, and numbers under the same keys."""
    if not isinstance(saved, Mapping) or own.keys() != saved.keys():
        raise ValueError(f"{where}: must have the keys {', '.join(own) or '(none)'}")
    for key, value in own.items():
        if isinstance(value, int | float) or (value is None and isinstance(saved[key], str | list | Mapping)):
            _compare(value, saved[key], f"{where}.{key}")


def _check_weights(own: Mapping[str, Any], saved: Mapping[str, Any], where: str) -> None:
    """Raise ValueError unless both have the same tensors of the same shapes, and extra states of the same structure."""
    surplus = sorted(saved.keys() - own.keys())
    if surplus:
        raise ValueError(f"{where}: holds {surplus[0][:100]}, which this run lacks")
    for name, value in own.items():
        if not isinstance(value, Tensor):
            _compare_values(value, saved.get(name), f"{where}.{name}")
        elif not isinstance(saved.get(name), Tensor) or saved[name].shape != value.shape:
            raise ValueError(f"{where}: {name} must be a tensor of shape {tuple(value.shape)}")


def _check_optimizer(saved: Mapping[str, Any], module: TracerModule, where: str) -> None:
    """Raise ValueError unless the states of the optimizer and of its schedule fit the trained parameters.

    The optimizer's state numbers its parameters or, after sharded training, names them.
    """
    trained = module.trained()
    shapes: dict[Any, Any] = {number: p.shape for number, p in enumerate(trained.values())}
    shapes |= {name: p.shape for name, p in trained.items()}
    optimizer = module.optimizer(iter(trained.values()))
    scheduler = module.scheduler(optimizer, saved["total_steps"])
    _compare([scheduler.state_dict()], saved["lr_schedulers"], f"{where}: lr_schedulers")
    own, states = optimizer.state_dict(), saved["optimizer_states"]
    if not states and saved["global_step"] == saved["total_steps"]:
        return  # a finished run that has kept only weights: nothing is left to train
    if len(states) != 1 or not isinstance(states[0], Mapping) or states[0].keys() != own.keys():
        raise ValueError(f"{where}: optimizer_states must be the state of one optimizer")
    state, groups = states[0]["state"], states[0]["param_groups"]
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) and "params" in group for group in groups):
        raise ValueError(f"{where}: optimizer_states: param_groups must be a list of groups with params")
    parameters = [key for group in groups for key in group["params"]]
    _compare(_options(own["param_groups"]), _options(groups), f"{where}: optimizer_states: param_groups")
    if len(parameters) != len(trained) or not isinstance(state, Mapping) or not {*parameters, *state} <= shapes.keys():
        raise ValueError(f"{where}: optimizer_states are of other parameters than those that this run trains")
    for key, entry in state.items():
        for value in entry.values() if isinstance(entry, Mapping) else [None]:
            if not (isinstance(value, Tensor) and value.shape in ((), shapes[key])):
                raise ValueError(f"{where}: optimizer_states: the state of {key} is not of the shape of its parameter")


def _options(groups: list[Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in groups]
