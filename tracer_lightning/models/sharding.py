"""A model of which each rank keeps a shard (FSDP2), gathered block by block while it computes."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
import torch.distributed as dist
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import Replicate, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm

from tracer_lightning.models.open_clip.clip import ClipModel

OUTSIDE = ("encode_image", "encode_text")
"""Methods that compute with the weights and are called from outside ``forward``."""


def is_sharded(model: nn.Module) -> bool:
    """Whether :func:`shard` was here."""
    return isinstance(model, FSDPModule)


def shard(model: ClipModel, mesh: DeviceMesh, trained: bool = True) -> None:
    """Leave each rank its share of the weights, in place: one group per transformer block, and one of the rest.

    The rest (embeddings, projections, head) stays gathered from the forward pass of a trained model to the end of its
    backward pass, so that losses and regularizers may use it in between. Gradients are averaged over ranks, as DDP
    averages them. The logit scale, which is too small to be cut, is kept by all ranks.

    Args:
        model: with the same architecture on every rank; the weights are those of rank 0. A teacher must be made
            before its student is sharded.
        mesh: (nodes, ranks of a node), named; weights are sharded within a node and replicated among nodes.
        trained: whether there will be backward passes; without them the rest must not outlive the forward pass, or
            later changes of the shards would not be seen.

    Raises:
        ValueError: BatchNorm layers in training, whose statistics would be of each rank's images alone.
    """
    if trained and any(isinstance(m, _BatchNorm) for m in model.modules()) and not model.batch_norm_frozen:
        raise ValueError(
            "trainer=fsdp: BatchNorm's statistics would be of each process's own images; keep those that there are "
            "(batch_norm=frozen), or choose trainer=ddp"
        )
    _start_alike(model, mesh.device_type)
    if mesh.size(0) == 1:
        mesh = mesh[(mesh.mesh_dim_names or ())[-1]]
    clip = model.model
    scale = distribute_tensor(clip.logit_scale.detach(), mesh, [Replicate()] * mesh.ndim, src_data_rank=None)
    clip.logit_scale = nn.Parameter(scale, requires_grad=clip.logit_scale.requires_grad)
    for module in model.modules():
        if isinstance(module, ResidualAttentionBlock):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=not trained, ignored_params={clip.logit_scale})
    for name in OUTSIDE:
        _gather_for(model, name)


def _start_alike(model: nn.Module, device: str) -> None:
    """Send rank 0's values to all."""
    model.to(device)
    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)


def _gather_for(model: Any, name: str) -> None:
    """Gather the weights for a method as for ``forward``, and let go of them where no backward pass will."""
    register_fsdp_forward_method(model, name)
    gathered = getattr(model, name)

    @wraps(gathered)
    def method(inputs: Tensor) -> Tensor:
        found: Tensor = gathered(inputs)
        if not torch.is_grad_enabled():
            model.reshard()
        return found

    setattr(model, name, method)
