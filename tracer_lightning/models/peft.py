"""Parameter-efficient fine-tuning: few parameters are trained, and all others stay bitwise unchanged.

Each function prepares a model in place: it freezes all parameters, including the logit scale, and then unfreezes or
adds the parameters that the method trains. At initialisation, the features are unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tracer_lightning.models.adapter import FeatureAdapter
from tracer_lightning.models.open_clip.clip import ClipModel, transformer_blocks

Tower = Literal["image", "text"]
BOTH: tuple[Tower, ...] = get_args(Tower)
QKV = "in_proj_weight"
TIMM_NAMES = ("attn.qkv.", "attn.in_proj_")
"""Part of the names of fused queries, keys and values in timm's blocks, and its counterpart in open_clip's."""


def full(model: ClipModel) -> None:
    """Train everything."""
    del model


def train_only(
    model: ClipModel, patterns: Sequence[str], towers: Sequence[Tower] = BOTH, blocks: Sequence[int] | None = None
) -> None:
    """Train the parameters of transformer blocks whose names match any of the patterns.

    ``attn.in_proj_weight`` is A-CLIP (fused query, key and value weights, without their biases), ``*bias`` is BitFit.

    Args:
        model: model to prepare.
        patterns: shell-style patterns of parameter names within a block, as open_clip names them.
        towers: towers to train, ``image``, ``text`` or both.
        blocks: indices of the blocks to train, negative ones counted from the end; None for all.

    Raises:
        ValueError: there is no pattern, one matches nothing, or a tower has no such block.
    """
    if not patterns:
        raise ValueError("patterns must name parameters to train, got none")
    model.requires_grad_(False)
    matched: set[str] = set()
    for block in _blocks(model, towers, blocks):
        for name, parameter in block.named_parameters():
            matching = {pattern for pattern in patterns if fnmatchcase(name.replace(*TIMM_NAMES), pattern)}
            parameter.requires_grad_(bool(matching))
            matched |= matching
    for pattern in patterns:
        if pattern not in matched:
            raise ValueError(f"patterns: {pattern!r} matches no parameter of a block")


class QueryValueLora(nn.Module):
    """Low-rank update of the query and value rows of a fused projection (LoRA; Hu et al., 2022).

    W + scale [B_q A_q; 0; B_v A_v]. A ~ N(0, 0.02²) and B = 0, so that the update is initially zero.

    Args:
        width: width of the block.
        rank: rank of the update.
        scale: fixed factor of the update.
    """

    def __init__(self, width: int, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.query_a, self.value_a = (nn.Parameter(0.02 * torch.randn(rank, width)) for _ in range(2))
        self.query_b, self.value_b = (nn.Parameter(torch.zeros(width, rank)) for _ in range(2))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight, (3 width, width)."""
        query, value = self.query_b @ self.query_a, self.value_b @ self.value_a  # (width, width)
        return weight + self.scale * torch.cat([query, torch.zeros_like(query), value])


def add_lora(
    model: ClipModel, rank: int, scale: float, towers: Sequence[Tower] = BOTH, blocks: Sequence[int] | None = None
) -> None:
    """Train low-rank updates of every block's query and value projections.

    Args:
        model: model to prepare.
        rank: rank of each update.
        scale: fixed factor of the updates, > 0.
        towers: towers to train, ``image``, ``text`` or both.
        blocks: indices of the blocks to train, negative ones counted from the end; None for all.
    """
    if rank < 1 or scale <= 0:
        raise ValueError(f"rank must be >= 1 and scale > 0, got {rank} and {scale}")
    model.requires_grad_(False)
    for block in _blocks(model, towers, blocks):
        qkv = getattr(block.attn, "qkv", None)
        owner, name = (block.attn, QKV) if qkv is None else (qkv, "weight")
        weight = getattr(owner, name)
        update = QueryValueLora(weight.shape[1], rank, scale).to(weight.device, weight.dtype)
        parametrize.register_parametrization(owner, name, update)


def add_adapters(model: ClipModel, reduction: int, ratio: float, towers: Sequence[Tower] = BOTH) -> None:
    """Train a bottleneck adapter on the features of each tower (CLIP-Adapter; Gao et al., 2024).

    Args:
        model: model to prepare.
        reduction: ratio of the width of the features to that of the bottleneck.
        ratio: weight of the adapter in the features.
        towers: towers to train, ``image``, ``text`` or both.
    """
    if reduction < 1 or not 0.0 < ratio < 1.0:
        raise ValueError(f"reduction must be >= 1 and ratio in (0, 1), got {reduction} and {ratio}")
    _check_towers(towers)
    model.requires_grad_(False)
    projection = model.text_projection
    width = projection.shape[1]
    for tower in towers:
        adapter = FeatureAdapter(width, max(1, width // reduction), ratio)
        setattr(model, f"{tower}_adapter", adapter.to(projection.device, projection.dtype))


def _check_towers(towers: Sequence[Tower]) -> None:
    if not towers or not set(towers) <= set(BOTH):
        raise ValueError(f"towers must be some of {', '.join(BOTH)}, got {list(towers)}")


def _blocks(model: ClipModel, towers: Sequence[Tower], indices: Sequence[int] | None) -> Iterator[Any]:
    """Yield the selected transformer blocks of the selected towers, each once, however often it is named."""
    _check_towers(towers)
    if indices is not None and not indices:
        raise ValueError("blocks must name at least one block, got none; None stands for all")
    clip = model.model
    modules = {"image": clip.visual, "text": clip}
    for tower in dict.fromkeys(towers):
        blocks = transformer_blocks(modules[tower])
        if blocks is None:
            raise ValueError(f"towers must not include {tower}: the {tower} tower is not a transformer")
        count = len(blocks)
        chosen = range(count) if indices is None else indices
        for index in chosen:
            if not -count <= index < count:
                raise ValueError(f"blocks must be indices of the {tower} tower's {count} blocks, got {index}")
        for index in dict.fromkeys(index % count for index in chosen):
            yield blocks[index]
