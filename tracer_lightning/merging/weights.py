"""Weights by name, and what can be done with those of one architecture."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
"""Parameters and persistent buffers of a model, by name."""
REMEDY = "only models of one architecture, with the same parts, can be merged"


def check_alike(one: Weights, other: Weights, names: tuple[str, str]) -> None:
    """Can these two models be merged?

    Args:
        one: its order of names counts.
        other: likewise.
        names: of the two models, for errors.

    Raises:
        ValueError: a tensor is in one model alone, or has another shape or other than finite values there. The first
            is named.
    """
    for name, value in one.items():
        if name not in other:
            raise ValueError(f"{names[1]} lacks {name}, which {names[0]} has; {REMEDY}")
        if value.shape != other[name].shape:
            shapes = tuple(value.shape), tuple(other[name].shape)
            raise ValueError(f"{name} has shape {shapes[0]} in {names[0]} and {shapes[1]} in {names[1]}; {REMEDY}")
        if not torch.isfinite(other[name]).all() and not torch.equal(value, other[name]):
            raise ValueError(f"{name} of {names[1]} is not finite: its training has diverged; leave it out")
    for name in other:
        if name not in one:
            raise ValueError(f"{names[1]} has {name}, which {names[0]} lacks; {REMEDY}")


def common_type(tensors: Sequence[Tensor]) -> torch.dtype:
    """Their type; the widest, where they have several."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


def blend(start: Tensor, end: Tensor, share: float | Tensor) -> Tensor:
    """(1 - share) start + share end, computed in float64.

    A share may be a tensor of shares, one of each element, of parameters.

    It is exactly ``start`` at share 0 and where the two are equal, and exactly ``end`` at share 1. Counters and other
    tensors of integers can't be mixed: they are those of ``end`` unless share is 0.

    Returns:
        A tensor of their common type.
    """
    dtype = common_type([start, end])
    if torch.equal(start.to(dtype), end.to(dtype)):
        return start.to(dtype)
    if isinstance(share, Tensor):
        return torch.lerp(start.double(), end.double(), share).to(dtype)
    if share == 0.0:
        return start.to(dtype)
    if not dtype.is_floating_point:
        return end.to(dtype)
    return torch.lerp(start.double(), end.double(), share).to(dtype)


def average(tensors: Sequence[Tensor]) -> Tensor:
    """Their mean in float64."""
    total = tensors[0].double()
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors)


@torch.no_grad()
def mean(models: Sequence[Weights]) -> dict[str, Tensor]:
    """The plain mean of models of one architecture, computed in float64.

    Tensors of integers are those of the first model.

    Returns:
        Weights of their common types.
    """
    columns = {name: [model[name] for model in models] for name in models[0]}
    return {
        name: average(tensors).to(common_type(tensors)) if tensors[0].is_floating_point() else tensors[0]
        for name, tensors in columns.items()
    }
