"""Conversion of weights to at least single precision."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def widened(module: Module) -> Module:
    """Return the module, or a copy in fp32 if some of its weights are narrower."""
    narrow = any(p.is_floating_point() and p.dtype.itemsize < torch.float32.itemsize for p in module.parameters())
    return copy.deepcopy(module).float() if narrow else module
