"""Gathering the features of the global batch.

Every rank computes the full loss on the gathered features. The backward of the gather sums the gradients of all
ranks, and DDP then averages over ranks: the result is the gradient of one process on the global batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def gather(tensor: Tensor) -> Tensor:
    """Concatenate a tensor over ranks, with gradient if the tensor requires one.

    Args:
        tensor: (B, ...), of the same shape on every rank.

    Returns:
        (world * B, ...) in order of rank; the tensor itself outside distributed training.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return tensor
    tensor = tensor.contiguous()
    if tensor.requires_grad and torch.is_grad_enabled():
        import torch.distributed.nn.functional as differentiable

        return torch.cat(differentiable.all_gather(tensor))  # type: ignore[no-untyped-call]
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor)
    return torch.cat(parts)


def full_tensor(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor, with gradient; return any other tensor itself. All ranks must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Shard a replicated tensor like ``other`` of the same shape; return it unchanged if ``other`` is not sharded."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor):
        return tensor
    # every rank has the values, so nothing needs to be sent
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)
