"""Distance between weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tracer_lightning.functional.distributed import full_tensor


def _wide(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


@torch.no_grad()
def distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """‖first - second‖, the L2 norm over all elements of all tensors, in single precision or wider.

    Squares are added with torch's pairwise sum, as torch's norm of an embedding table in single precision is wrong in
    the third digit on a CPU.

    Args:
        first: one tensor or more; if they are sharded, all ranks must call the function.
        second: tensors of the same shapes on the same device, sharded in the same way.

    Returns:
        () distance on their device.
    """
    differences = torch._foreach_sub(_wide(first), _wide(second))
    torch._foreach_mul_(differences, differences)
    return full_tensor(torch.stack([squares.sum() for squares in differences]).sum().sqrt())
