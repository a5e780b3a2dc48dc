"""Operations on the weights of models of the same architecture."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
"""Parameters and persistent buffers of a model, by name."""
REMEDY = "only models of one architecture, with the same parts, can be merged"


def check_mergeable(first: Weights, second: Weights, names: tuple[str, str]) -> None:
    """Check that two models can be merged.

    Args:
        first: weights of the first model.
        second: weights of the second model.
        names: names of the two models, for error messages.

    Raises:
        ValueError: a tensor is missing in one model, has another shape, or has values in the second that are not
            finite. The message names the first such tensor.
    """
    for name, value in first.items():
        if name not in second:
            raise ValueError(f"{names[1]} lacks {name}, which {names[0]} has; {REMEDY}")
        if value.shape != second[name].shape:
            shapes = tuple(value.shape), tuple(second[name].shape)
            raise ValueError(f"{name} has shape {shapes[0]} in {names[0]} and {shapes[1]} in {names[1]}; {REMEDY}")
        if not torch.isfinite(second[name]).all() and not torch.equal(value, second[name]):
            raise ValueError(f"{name} of {names[1]} is not finite: its training has diverged; leave it out")
    for name in second:
        if name not in first:
            raise ValueError(f"{names[1]} has {name}, which {names[0]} lacks; {REMEDY}")


def common_type(tensors: Sequence[Tensor]) -> torch.dtype:
    """Common dtype of tensors; the widest if they differ."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


def blend(start: Tensor, end: Tensor, share: float | Tensor) -> Tensor:
    """Interpolate as (1 - share) start + share end, computed in float64.

    The share of a floating-point tensor may be a tensor with a share for each element. The result is exactly ``start``
    at share 0 and if the two are equal, and exactly ``end`` at share 1. Integer tensors such as counters cannot be
    interpolated: they are those of ``end`` unless the share is 0.

    Returns:
        A tensor of their common dtype.
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
    """Mean of tensors in float64."""
    total = tensors[0].double()
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors)


@torch.no_grad()
def mean(models: Sequence[Weights]) -> dict[str, Tensor]:
    """Unweighted mean of models of the same architecture, computed in float64.

    Integer tensors are those of the first model.

    Returns:
        The mean weights in their common dtypes.
    """
    columns = {name: [model[name] for model in models] for name in models[0]}
    return {
        name: average(tensors).to(common_type(tensors)) if tensors[0].is_floating_point() else tensors[0]
        for name, tensors in columns.items()
    }
