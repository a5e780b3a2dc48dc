"""Whether a run may continue from a checkpoint, wherever it is from; asked before anything is written."""

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

from tracer_lightning.config.saved_settings import DEEPEST, plain_settings
from tracer_lightning.models.weights import check_plain
from tracer_lightning.module import TracerModule

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
    "pytorch-lightning_version": str,
}
"""What a checkpoint holds that a run continues from."""
OLDEST, NEXT_MAJOR = Version("2.6"), Version("3")
"""Versions of Lightning whose checkpoints are continued: from the one to below the other."""
FREE = "state_dict"
"""Ending of entries of Lightning's loops that hold what their data loaders say."""
STEPS = ("fit_loop", "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step", "total", "completed")
"""Where Lightning's loops keep the number of optimizer steps."""
RESTORING = ("resume_start", "_restore_modules_and_callbacks", "restore_training_state")
"""Lightning's functions within which a checkpoint is restored."""


def check_continued(saved: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError unless the content of a checkpoint is of the kind that a run of this project writes.

    Lightning removes the files that a checkpoint calls its own, or better ones, when it writes the next: they must not
    lead out of the run's folder.
    """
    where = f"resume={path}"
    if any(key not in saved or not isinstance(saved[key], kind) for key, kind in CONTINUED.items()):
        raise ValueError(f"{where}: no checkpoint of a run of this project; use init_weights= for weights")
    _check_version(saved["pytorch-lightning_version"], where)
    if min(saved["epoch"], saved["global_step"]) < 0 or (saved["total_steps"] is not None and saved["total_steps"] < 1):
        raise ValueError(f"{where}: its epoch, step or number of steps is negative; continue from another checkpoint")
    plain_settings(saved, where)
    for key, value in saved.items():
        if key != "hyper_parameters":
            _check_state(value, f"{where}: {key}")
    for text in _texts(saved["callbacks"]):
        if "://" in text or "::" in text or ".." in Path(text).parts:
            raise ValueError(f"{where}: it names the file {text}, out of its folder; use init_weights= for weights")


def check_restorable(saved: Mapping[str, Any], path: Path, trainer: pl.Trainer, module: TracerModule) -> None:
    """Raise ValueError unless the state in a checkpoint has the form that this run itself would save.

    Args:
        saved: the content of a checkpoint, as :func:`check_continued` leaves it.
        path: where it is, for errors.
        trainer: the run's trainer, before it trains.
        module: the run's module, likewise.
    """
    where = f"resume={path}"
    _compare(_loops(trainer), saved["loops"], f"{where}: loops")
    steps: Any = saved["loops"]
    for key in STEPS:
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
    """Name the checkpoint in any error that comes from restoring it."""
    try:
        yield
    except Exception as error:  # what a damaged state makes of Lightning and torch, nobody lists
        names = {frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)}
        if path is None or isinstance(error, ValueError | OSError) or not names & set(RESTORING):
            raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"resume={path}: its state can't be restored ({type(error).__name__}: {reason})") from error


def _check_version(text: str, where: str) -> None:
    try:
        known = OLDEST <= Version(text) < NEXT_MAJOR
    except InvalidVersion:
        known = False
    if not known:
        raise ValueError(
            f"{where}: it is of Lightning {text[:50]!r}, and {OLDEST} to below {NEXT_MAJOR} can be continued; "
            "use init_weights= for weights"
        )


def _check_state(node: Any, where: str, depth: int = 0) -> None:
    """Raise ValueError for what is neither a plain value, nor a finite tensor, nor a container of these."""
    if depth > DEEPEST:
        raise ValueError(f"{where}: nested more than {DEEPEST} deep")
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


def _texts(node: Any) -> Iterator[str]:
    """All strings in nested containers."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        for entry in (*node, *node.values()):
            yield from _texts(entry)
    elif isinstance(node, list | tuple | set):
        for entry in node:
            yield from _texts(entry)


def _loops(trainer: pl.Trainer) -> dict[str, Any]:
    """The progress of a trainer's loops as Lightning saves it."""
    loops: Any = {
        "fit_loop": trainer.fit_loop,
        "validate_loop": trainer.validate_loop,
        "test_loop": trainer.test_loop,
        "predict_loop": trainer.predict_loop,
    }
    return {name: loop.state_dict() for name, loop in loops.items()}


def _compare(own: Any, saved: Any, where: str) -> None:
    """Raise ValueError unless both are of one form: the same keys, lists as long, numbers where there are numbers."""
    if isinstance(own, Mapping):
        if not isinstance(saved, Mapping) or own.keys() != saved.keys():
            raise ValueError(f"{where}: not as this version of Lightning writes it; use init_weights= for weights")
        for key, value in own.items():
            if not str(key).endswith(FREE):
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


def _check_number(value: Any, whole: bool, where: str) -> None:
    """Raise ValueError for what is no number, or no count where a whole number is needed."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value)
    if not number or (whole and not (isinstance(value, int) and 0 <= value < 1 << 62)):
        kind = "whole number >= 0" if whole else "number"
        raise ValueError(f"{where}: must be a {kind}, found {value!r:.100}")


def _compare_values(own: Mapping[str, Any], saved: Any, where: str) -> None:
    """Raise ValueError unless there are the same keys, with numbers where there are numbers; the rest is free."""
    if not isinstance(saved, Mapping) or own.keys() != saved.keys():
        raise ValueError(f"{where}: must have the keys {', '.join(own) or 'of nothing'}")
    for key, value in own.items():
        if isinstance(value, int | float) or (value is None and isinstance(saved[key], str | list | Mapping)):
            _compare(value, saved[key], f"{where}.{key}")


def _check_weights(own: Mapping[str, Any], saved: Mapping[str, Any], where: str) -> None:
    """Raise ValueError unless there are the same tensors of the same shapes, and clocks of the same form."""
    surplus = sorted(saved.keys() - own.keys())
    if surplus:
        raise ValueError(f"{where}: holds {surplus[0][:100]}, which this run lacks")
    for name, value in own.items():
        if not isinstance(value, Tensor):
            _compare_values(value, saved.get(name), f"{where}.{name}")
        elif not isinstance(saved.get(name), Tensor) or saved[name].shape != value.shape:
            raise ValueError(f"{where}: {name} must be a tensor of shape {tuple(value.shape)}")


def _check_optimizer(saved: Mapping[str, Any], module: TracerModule, where: str) -> None:
    """Raise ValueError unless there is one optimizer's state, of the shapes of what is trained, and its schedule's.

    Parameters are numbered in it, or named where they were sharded.
    """
    named = module.trained()
    shapes: dict[Any, Any] = {number: p.shape for number, p in enumerate(named.values())}
    shapes |= {name: p.shape for name, p in named.items()}
    optimizer = module.optimizer(iter(named.values()))
    scheduler = module.scheduler(optimizer, saved["total_steps"])
    _compare([scheduler.state_dict()], saved["lr_schedulers"], f"{where}: lr_schedulers")
    own, states = optimizer.state_dict(), saved["optimizer_states"]
    if len(states) != 1 or not isinstance(states[0], Mapping) or states[0].keys() != own.keys():
        raise ValueError(f"{where}: optimizer_states must be the state of one optimizer")
    state, groups = states[0]["state"], states[0]["param_groups"]
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) and "params" in group for group in groups):
        raise ValueError(f"{where}: optimizer_states: param_groups must be a list of groups with params")
    parameters = [key for group in groups for key in group["params"]]
    _compare(_options(own["param_groups"]), _options(groups), f"{where}: optimizer_states: param_groups")
    if len(parameters) != len(named) or not isinstance(state, Mapping) or not {*parameters, *state} <= shapes.keys():
        raise ValueError(f"{where}: optimizer_states are of other parameters than those that this run trains")
    for key, entry in state.items():
        for value in entry.values() if isinstance(entry, Mapping) else [None]:
            if not (isinstance(value, Tensor) and value.shape in ((), shapes[key])):
                raise ValueError(f"{where}: optimizer_states: the state of {key} is not of the shape of its parameter")


def _options(groups: list[Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in group.items() if key != "params"} for group in groups]
