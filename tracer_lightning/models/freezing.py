"""Choosing what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from tracer_lightning.models.model import Model


def train_parts(model: Model, parts: Sequence[str]) -> None:
    """Freeze all parts but these.

    Args:
        model: changed in place; what is frozen in these parts stays so.
        parts: some of the model's ``parts``.

    Raises:
        ValueError: there is no such part, or nothing in it is left to train.
    """
    if isinstance(parts, str) or not set(parts) <= set(model.parts):
        raise ValueError(f"parts must be a list of some of {', '.join(model.parts)}, got {parts!r}")
    if "head" in parts and model.head is None:
        raise ValueError("parts must not include head, since the model has none; leave it out, or add a head")
    for name, parameter in model.named_parameters():
        if model.part_of(name) not in parts:
            parameter.requires_grad_(False)
    if parts and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(
            f"parts={list(parts)} leaves nothing to train: all of it is frozen already; choose other parts"
        )


def freeze(model: Model, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose names match any of the patterns.

    Args:
        model: changed in place.
        patterns: shell-style patterns, such as ``visual.*`` or ``transformer.resblocks.0.*``.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    if isinstance(patterns, str):
        raise ValueError(f"patterns must be a list, got {patterns!r}; write [{patterns}]")
    prefix = model.weights_prefix
    parameters = {n.removeprefix(prefix): p for n, p in model.named_parameters() if n.startswith(prefix)}
    for pattern in patterns:
        matches = [p for name, p in parameters.items() if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(
                f"patterns: {pattern!r} matches no parameter; names are like {', '.join(list(parameters)[:3])}"
            )
        for parameter in matches:
            parameter.requires_grad_(False)
    if patterns and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"patterns={list(patterns)} leaves nothing to train; freeze less")


def train_last(model: Model, layers: int | None) -> None:
    """Freeze all layers of the model but the last ones.

    Args:
        model: changed in place.
        layers: how many to leave, of each tower where there are several; None freezes nothing.

    Raises:
        ValueError: the model has no known layers, or nothing is left to train.
    """
    if layers is None:
        return
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 0:
        raise ValueError(f"layers must be >= 0 or None, got {layers!r}")
    model.train_last(layers)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"layers={layers} leaves nothing to train; train more")
