"""Choosing what is trained."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from tracer_lightning.models.open_clip.clip import ClipModel

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


def train_last(model: ClipModel, layers: int | None) -> None:
    """Freeze the layers of both towers but the last ones, as the released code's ``trainable_layers`` does.

    The layers are the blocks of a transformer and the four stages of a ResNet; all else stays as it is, embeddings,
    stem, projections and pooling included.

    Args:
        model: changed in place.
        layers: how many of each tower to leave; 0 freezes the towers whole, None nothing.

    Raises:
        ValueError: there are no such layers, or nothing is left to train.
    """
    if layers is None:
        return
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 0:
        raise ValueError(f"trainable_layers must be null or a whole number >= 0, found {layers!r}")
    clip = model.model
    frozen = [clip] if layers == 0 else [layer for tower in (clip.visual, clip) for layer in _layers(tower)[:-layers]]
    for module in frozen:
        for parameter in module.parameters():
            parameter.requires_grad_(parameter is clip.logit_scale and parameter.requires_grad)
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"trainable_layers={layers} leaves nothing to train; train more")


def _layers(tower: Any) -> list[nn.Module]:
    """In order."""
    if isinstance(tower, ModifiedResNet):
        return [tower.layer1, tower.layer2, tower.layer3, tower.layer4]
    blocks = getattr(getattr(getattr(tower, "text", tower), "transformer", None), "resblocks", None)
    if blocks is None:
        raise ValueError(f"trainable_layers: the layers of a {type(tower).__name__} are not known; leave it at null")
    return list(blocks)
