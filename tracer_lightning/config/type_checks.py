"""Types of settings, compared with annotations."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from tracer_lightning.engine.settings import shortened

TARGET = "_target_"
LARGEST = (1 << 63) - 1
"""Whole number that torch can compute with."""


def check_values(node: Any, key: str, written: Callable[[str], str] = str) -> None:
    """Compare what is below ``node`` with the annotations of its ``_target_``; ValueError names the setting.

    Args:
        node: of the configuration.
        key: of the node.
        written: from a key to the one at which a user sets what stands there.
    """
    if isinstance(node, ListConfig):
        for number, value in enumerate(node):
            check_values(value, f"{key}.{number}", written)
    if not isinstance(node, DictConfig):
        return
    hints = _annotations(called(node[TARGET], key)) if TARGET in node else {}
    for name, value in node.items():
        setting = f"{key}.{name!s}"
        if not str(name).startswith("_") and not _makes(value):
            check_type_of(value, hints.get(str(name), Any), setting, written)
        check_values(value, setting, written)


def check_type_of(value: Any, hint: Any, key: str, written: Callable[[str], str] = str) -> None:
    """ValueError, which names the setting, unless the value is of the type; true and false are no numbers."""
    plain: Any = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
    forms = [plain, tuple(plain)] if isinstance(plain, list) else [plain]  # YAML has no tuples
    if not any(_fits(form, hint) for form in forms):
        raise ValueError(f"{written(key)} must be of type {_called_by(hint)}, found {shortened(plain)}")


def _fits(value: Any, hint: Any) -> bool:
    try:
        check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError:
        return False
    if isinstance(value, bool):
        return _admits_bool(hint)
    return not isinstance(value, int) or abs(value) <= LARGEST


def _admits_bool(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(isinstance(value, bool) for value in get_args(hint))
    if isinstance(hint, types.UnionType) or get_args(hint):
        return any(_admits_bool(part) for part in get_args(hint))
    return hint in (Any, object, bool)


def _called_by(hint: Any) -> str:
    """How a type is called in messages."""
    plain = isinstance(hint, type) and not get_args(hint)
    name = hint.__name__ if plain else str(hint)
    return name.replace("typing.", "").replace("collections.abc.", "").replace("dict[Any, Any]", "mapping")


def _makes(value: Any) -> bool:
    """Whether objects are made of the node, or of some of what is in it."""
    if isinstance(value, DictConfig):
        return TARGET in value or any(_makes(entry) for entry in value.values())
    return isinstance(value, ListConfig) and any(_makes(entry) for entry in value)


def called(target: Any, key: str) -> Callable[..., Any]:
    """What ``_target_`` of the node ``key`` names; ValueError where there is nothing of this name."""
    if not isinstance(target, str) or not target:
        raise ValueError(f"{key}.{TARGET} must name a class or function, found {target!r}")
    try:
        return get_method(target)
    except (ImportError, ValueError) as error:
        reason = str(error).splitlines()[1:2] or [str(error)]
        raise ValueError(
            f"{key}.{TARGET}={target} is not found: {reason[0]}; a module of your own must be on PYTHONPATH"
        ) from error


def _annotations(target: Callable[..., Any]) -> dict[str, Any]:
    """Types of the target's parameters and, where it passes keywords on, of those of the classes it extends."""
    classes = target.__mro__ if isinstance(target, type) else ()
    functions: list[Any] = [vars(cls)["__init__"] for cls in classes if "__init__" in vars(cls)] or [target]
    found: dict[str, Any] = {}
    for function in functions:
        try:
            hints, parameters = get_type_hints(function), inspect.signature(function).parameters.values()
        except (NameError, TypeError, ValueError):  # annotations that exist for a type checker only
            break
        found = {p.name: hints[p.name] for p in parameters if p.name in hints} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found
