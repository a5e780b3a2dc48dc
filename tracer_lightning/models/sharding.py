"""Sharding of a model over ranks (FSDP2), with weights gathered block by block."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import Replicate, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tracer_lightning.models.model import Model


def is_sharded(model: nn.Module) -> bool:
    """Whether a model was sharded by :func:`shard`."""
    return isinstance(model, FSDPModule)


def shard(model: Model, mesh: DeviceMesh, trained: bool = True) -> None:
    """Shard a model's weights over ranks in place: one group per transformer block, and one for the remaining weights.

    The remaining weights (embeddings, projections, head) stay gathered from the forward pass of a trained model to the
    end of its backward pass, so that losses and regularizers can use them. Gradients are averaged over ranks like in
    DDP. Parameters that are too small to be sharded are replicated.

    Args:
        model: model with the same architecture on every rank; the weights of rank 0 are used. A teacher must be created
            before its student is sharded.
        mesh: device mesh (nodes, ranks per node) with named dimensions; weights are sharded within nodes and replicated
            across nodes.
        trained: whether there will be backward passes; if not, all weights are released after the forward pass, so that
            later changes of the shards take effect.

    Raises:
        ValueError: the model trains BatchNorm, whose statistics would be those of each rank's own images.
    """
    if trained and any(isinstance(m, _BatchNorm) for m in model.modules()) and not model.batch_norm_frozen:
        raise ValueError(
            "a model that trains BatchNorm can't be sharded, since its statistics would be those of each process's own "
            "images; freeze BatchNorm, or use DDP instead of FSDP"
        )
    _broadcast_weights(model, mesh.device_type)
    if mesh.size(0) == 1:
        mesh = mesh[(mesh.mesh_dim_names or ())[-1]]
    for name in model.replicated:
        _replicate(model, name, mesh)
    for block in model.blocks():
        fully_shard(block, mesh=mesh)
    replicated = {model.get_parameter(name) for name in model.replicated}
    fully_shard(model, mesh=mesh, reshard_after_forward=not trained, ignored_params=replicated)
    for name in model.called_from_outside:
        _gather_for(model, name)


def _replicate(model: nn.Module, name: str, mesh: DeviceMesh) -> None:
    """Let all ranks keep a parameter that is the same on all of them."""
    parameter = model.get_parameter(name)
    values = distribute_tensor(parameter.detach(), mesh, [Replicate()] * mesh.ndim, src_data_rank=None)
    owner, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner), attribute, nn.Parameter(values, requires_grad=parameter.requires_grad))


def _broadcast_weights(model: nn.Module, device: str) -> None:
    """Broadcast the values of rank 0 to all ranks."""
    model.to(device)
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)


def _gather_for(model: Any, name: str) -> None:
    """Gather the weights for a method as for ``forward``, and release them where no backward pass follows."""
    register_fsdp_forward_method(model, name)
    original = getattr(model, name)

    @wraps(original)
    def method(*inputs: Any) -> Any:
        outputs = original(*inputs)
        if not torch.is_grad_enabled():
            model.reshard()
        return outputs

    setattr(model, name, method)
