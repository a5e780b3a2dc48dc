"""Types of settings, compared with annotations."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hydra.utils import get_method
from omegaconf import DictConfig, ListConfig, OmegaConf
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from tracer_lightning.engine.settings import shortened

TARGET = "_target_"
MAX_INT = (1 << 63) - 1
"""Greatest whole number that torch can compute with."""


def check_values(node: Any, key: str, written: Callable[[str], str] = str) -> None:
    """Raise ValueError, which names the setting, where an argument of a ``_target_`` does not fit its annotation.

    Args:
        node: node of the configuration.
        key: key of the node.
        written: function from a key to the key at which a user sets its value.
    """
    if isinstance(node, ListConfig):
        for number, value in enumerate(node):
            check_values(value, f"{key}.{number}", written)
    if not isinstance(node, DictConfig):
        return
    hints = _annotations(target_of(node[TARGET], key)) if TARGET in node else {}
    for name, value in node.items():
        setting = f"{key}.{name!s}"
        if not str(name).startswith("_") and not _is_instantiated(value):
            check_type_of(value, hints.get(str(name), Any), setting, written)
        check_values(value, setting, written)


def check_type_of(value: Any, hint: Any, key: str, written: Callable[[str], str] = str) -> None:
    """Raise ValueError, which names the setting, unless the value is of the type; booleans and NaN are no numbers."""
    plain: Any = OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value
    forms = [plain, tuple(plain)] if isinstance(plain, list) else [plain]  # YAML has no tuples
    if not any(_fits(form, hint) for form in forms):
        raise ValueError(f"{written(key)} must be of type {_type_name(hint)}, found {shortened(plain)}")
    if not _is_finite(plain):
        raise ValueError(f"{written(key)} must be finite, found {shortened(plain)}")


def _fits(value: Any, hint: Any) -> bool:
    try:
        check_type(value, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError:
        return False
    if isinstance(value, bool):
        return _admits_bool(hint)
    return not isinstance(value, int) or abs(value) <= MAX_INT


def _is_finite(value: Any) -> bool:
    """Whether neither a number nor any of a list is NaN or infinite."""
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _admits_bool(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return any(isinstance(value, bool) for value in get_args(hint))
    if isinstance(hint, types.UnionType) or get_args(hint):
        return any(_admits_bool(part) for part in get_args(hint))
    return hint in (Any, object, bool)


def _type_name(hint: Any) -> str:
    """Name of a type in messages."""
    plain = isinstance(hint, type) and not get_args(hint)
    name = hint.__name__ if plain else str(hint)
    return name.replace("typing.", "").replace("collections.abc.", "").replace("dict[Any, Any]", "mapping")


def _is_instantiated(value: Any) -> bool:
    """Whether objects are instantiated from the node or from parts of it."""
    if isinstance(value, DictConfig):
        return TARGET in value or any(_is_instantiated(entry) for entry in value.values())
    return isinstance(value, ListConfig) and any(_is_instantiated(entry) for entry in value)


def target_of(target: Any, key: str) -> Callable[..., Any]:
    """The class or function that ``_target_`` of the node ``key`` names; ValueError where it does not exist."""
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
    """Types of the target's parameters and, where it takes ``**kwargs``, of those of its base classes."""
    classes = target.__mro__ if isinstance(target, type) else ()
    functions: list[Any] = [vars(cls)["__init__"] for cls in classes if "__init__" in vars(cls)] or [target]
    annotations: dict[str, Any] = {}
    for function in functions:
        try:
            hints, parameters = get_type_hints(function), inspect.signature(function).parameters.values()
        except (NameError, TypeError, ValueError):  # annotations that only a type checker can resolve
            break
        annotations = {p.name: hints[p.name] for p in parameters if p.name in hints} | annotations
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return annotations
