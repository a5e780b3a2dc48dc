"""Merge parametrized weights, such as those with LoRA.

``torch.nn.utils.parametrize`` computes a weight from its original and other parameters, such as the factors of LoRA.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

PARTS = "parametrizations"
"""Component of the names of parameters that parametrized weights are computed from."""


def _parametrized(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Full name, submodule and local name of every parametrized weight."""
    return [
        (f"{path}.{weight}" if path else weight, submodule, weight)
        for path, submodule in module.named_modules()
        if parametrize.is_parametrized(submodule)
        for weight in submodule.parametrizations
    ]


def part_names(module: nn.Module) -> set[str]:
    """Names of the parameters that parametrized weights are computed from."""
    return {name for name, _ in module.named_parameters() if PARTS in name.split(".")}


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Replace parametrized weights by their values, in place.

    torch's own ``remove_parametrizations`` would break deep copies of the module, which share its class, and write into
    the original weight, which a copy may share as well.
    """
    weights = _parametrized(module)
    values = {name: getattr(submodule, weight).clone() for name, submodule, weight in weights}
    for submodule in {id(submodule): submodule for _, submodule, _ in weights}.values():
        submodule.__class__ = parametrize.type_before_parametrizations(submodule)
        del submodule.parametrizations
    for name, submodule, weight in weights:
        submodule.register_parameter(weight, nn.Parameter(values[name]))


def merged_values(module: nn.Module) -> dict[str, Tensor]:
    """Parameters by their names in the merged module, with the values of parametrized weights."""
    values: dict[str, Tensor] = {
        name: parameter for name, parameter in module.named_parameters() if PARTS not in name.split(".")
    }
    return values | {name: getattr(submodule, weight) for name, submodule, weight in _parametrized(module)}


def merged_trained(module: nn.Module) -> tuple[str, ...]:
    """Names in the merged module of weights that are trained or computed from trained parameters."""
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad} - part_names(module)
    for name, submodule, weight in _parametrized(module):
        parts = submodule.parametrizations[weight].parameters()  # type: ignore[union-attr,index]
        if any(part.requires_grad for part in parts):
            trained.add(name)
    return tuple(name for name in merged_values(module) if name in trained)
