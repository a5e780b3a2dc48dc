"""Choosing what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, get_args

from tracer_lightning.models.clip import ClipModel

Part = Literal["image", "text", "scale", "head"]
PARTS: tuple[Part, ...] = get_args(Part)


def part_of(name: str) -> Part:
    """The part of a :class:`ClipModel` that a parameter of this name belongs to."""
    if name.startswith(("model.visual.", "image_adapter.")):
        return "image"
    if name.startswith("head."):
        return "head"
    return "scale" if name == "model.logit_scale" else "text"


def train_parts(model: ClipModel, parts: Sequence[str]) -> None:
    """Freeze all parts but these.

    Args:
        model: changed in place; what is frozen in these parts stays so.
        parts: some of ``image``, ``text`` (towers, with their projections), ``scale`` (of the logits) and ``head``.

    Raises:
        ValueError: there is no such part, or nothing in it is left to train.
    """
    if isinstance(parts, str) or not set(parts) <= set(PARTS):
        raise ValueError(f"method.train must be a list of some of {', '.join(PARTS)}, found {parts!r}")
    if "head" in parts and model.head is None:
        raise ValueError("method.train: there is no head to train; choose one (head=zero_shot)")
    for name, parameter in model.named_parameters():
        if part_of(name) not in parts:
            parameter.requires_grad_(False)
    if parts and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"method.train: {list(parts)} and peft= leave nothing to train; choose another peft")


def freeze(model: ClipModel, patterns: Sequence[str]) -> None:
    """Freeze the parameters whose open_clip names match any of the patterns.

    Args:
        model: changed in place.
        patterns: shell-style patterns, such as ``visual.*`` or ``transformer.resblocks.0.*``.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to train.
    """
    if isinstance(patterns, str):
        raise ValueError(f"method.freeze must be a list, found {patterns!r}; write method.freeze=[{patterns}]")
    parameters = dict(model.model.named_parameters())
    for pattern in patterns:
        matches = [p for name, p in parameters.items() if fnmatchcase(name, pattern)]
        if not matches:
            raise ValueError(
                f"method.freeze: {pattern!r} matches no parameter; names are like {', '.join(list(parameters)[:3])}"
            )
        for parameter in matches:
            parameter.requires_grad_(False)
    if patterns and not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"method.freeze: {list(patterns)} leaves nothing to train; freeze less")
