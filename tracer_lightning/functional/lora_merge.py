"""Weights that are made of others.

``torch.nn.utils.parametrize`` replaces a weight by its original and what changes it, such as the factors of LoRA.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

PARTS = "parametrizations"


def _parametrized(module: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Name of the weight, the submodule that has it, and its name there."""
    return [
        (f"{path}.{weight}" if path else weight, submodule, weight)
        for path, submodule in module.named_modules()
        if parametrize.is_parametrized(submodule)
        for weight in submodule.parametrizations
    ]


def part_names(module: nn.Module) -> set[str]:
    """Names of the parameters that weights are made of."""
    return {name for name, _ in module.named_parameters() if PARTS in name.split(".")}


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Replace weights that are made of others by what they come to, in place.

    torch's own ``remove_parametrizations`` would break deep copies of the module, which share their class with it, and
    write into the original weight, which a copy may share, too.
    """
    found = _parametrized(module)
    values = {name: getattr(submodule, weight).clone() for name, submodule, weight in found}
    for submodule in {id(submodule): submodule for _, submodule, _ in found}.values():
        submodule.__class__ = parametrize.type_before_parametrizations(submodule)
        del submodule.parametrizations
    for name, submodule, weight in found:
        submodule.register_parameter(weight, nn.Parameter(values[name]))


def merged_values(module: nn.Module) -> dict[str, Tensor]:
    """Parameters by their names in the merged module; one that is made of others is what they come to."""
    values: dict[str, Tensor] = {
        name: parameter for name, parameter in module.named_parameters() if PARTS not in name.split(".")
    }
    return values | {name: getattr(submodule, weight) for name, submodule, weight in _parametrized(module)}


def merged_trained(module: nn.Module) -> tuple[str, ...]:
    """Names in the merged module of what is trained, or made of something that is."""
    whole = {name for name, parameter in module.named_parameters() if parameter.requires_grad} - part_names(module)
    for name, submodule, weight in _parametrized(module):
        parts = submodule.parametrizations[weight].parameters()  # type: ignore[union-attr,index]
        if any(part.requires_grad for part in parts):
            whole.add(name)
    return tuple(name for name in merged_values(module) if name in whole)
