"""How far apart weights are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tracer_lightning.functional.distributed import full_tensor


def _wide(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]


@torch.no_grad()
def distance(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """‖one - other‖, the L2 norm over all elements of all tensors, in single precision or wider.

    Squares are added with torch's sum, which adds pairwise: its norm, on a CPU, loses the third digit of an embedding
    table in single precision.

    Args:
        one: tensors, at least one; or those whose shards ranks hold, which all of them must ask about.
        other: tensors of the same shapes, on the same device, held alike.

    Returns:
        () on their device.
    """
    differences = torch._foreach_sub(_wide(one), _wide(other))
    torch._foreach_mul_(differences, differences)
    return full_tensor(torch.stack([squares.sum() for squares in differences]).sum().sqrt())
