"""The frozen first blocks of open_clip's transformers, which compute the same in a student and in its teacher."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import Parameter
from torch.utils.checkpoint import checkpoint

from tracer_lightning.models.open_clip.fast_attention import SelfAttention


class PartlyEncoded(NamedTuple):
    """Inputs of a tower, and what its first blocks made of them."""

    inputs: Tensor
    """(N, ...) samples or (N, L) token ids."""
    tokens: Tensor
    """(N, T, width) inputs of the next block."""
    blocks: int = 0
    """Number of blocks that were computed."""


@torch.no_grad()
def begin_images(visual: Any, images: Tensor) -> Tensor | PartlyEncoded:
    """Compute the frozen first blocks of an image tower; images stay what they are where there are none.

    Args:
        visual: image tower; only open_clip's vision transformer has blocks that are known.
        images: (N, ...) samples in the type of the weights.
    """
    if type(visual) is not VisionTransformer or not isinstance(visual.patch_dropout, nn.Identity):
        return images
    before = (visual.class_embedding, visual.positional_embedding, *visual.conv1.parameters())
    blocks = _frozen_blocks(visual.transformer, (*before, *visual.ln_pre.parameters()))
    if not blocks:
        return images
    begun = PartlyEncoded(images, visual._embeds(images))
    return PartlyEncoded(images, run_blocks(visual.transformer, begun, blocks), blocks)


def finish_images(visual: Any, begun: PartlyEncoded) -> Tensor:
    """Compute the other blocks of an image tower, and its features (N, D)."""
    pooled, _ = visual._pool(run_blocks(visual.transformer, begun))
    features: Tensor = pooled if visual.proj is None else pooled @ visual.proj
    return features


def embed_texts(clip: Any, texts: Tensor) -> PartlyEncoded:
    """Compute the tokens (N, L, width) of token ids (N, L) of any length up to the context."""
    dtype = clip.transformer.get_cast_dtype()
    positions = clip.positional_embedding[: texts.shape[1]].to(dtype)
    return PartlyEncoded(texts, clip.token_embedding(texts).to(dtype) + positions)


@torch.no_grad()
def begin_texts(clip: Any, texts: Tensor) -> Tensor | PartlyEncoded:
    """Compute the frozen first blocks of a causal text tower; texts stay what they are where there are none.

    Args:
        clip: model with the tower.
        texts: (N, L) token ids.
    """
    blocks = _frozen_blocks(clip.transformer, (clip.positional_embedding, *clip.token_embedding.parameters()))
    if not blocks:
        return texts
    return PartlyEncoded(texts, run_text_blocks(clip, embed_texts(clip, texts), blocks), blocks)


def run_text_blocks(clip: Any, begun: PartlyEncoded, until: int | None = None) -> Tensor:
    """Compute the next blocks of a causal text tower, up to the ``until``-th or to the last."""
    length = begun.inputs.shape[1]
    return run_blocks(clip.transformer, begun, until, clip.attn_mask[:length, :length])


def run_blocks(
    transformer: Any, begun: PartlyEncoded, until: int | None = None, attn_mask: Tensor | None = None
) -> Tensor:
    """Compute the next blocks of a transformer, up to the ``until``-th or to the last: tokens (N, T, width)."""
    tokens = begun.tokens if transformer.batch_first else begun.tokens.transpose(0, 1).contiguous()
    for block in list(transformer.resblocks)[begun.blocks : until]:
        if transformer.grad_checkpointing:
            tokens = checkpoint(block, tokens, None, None, attn_mask, use_reentrant=False)
        else:
            tokens = block(tokens, attn_mask=attn_mask)
    return tokens if transformer.batch_first else tokens.transpose(0, 1)


def _frozen_blocks(transformer: Any, before: Iterable[Parameter]) -> int:
    """Number of first blocks that compute the same in training and evaluation, and before which nothing is trained.

    Args:
        transformer: transformer of a tower.
        before: parameters that its inputs depend on.
    """

    def is_frozen(block: nn.Module) -> bool:
        same = isinstance(getattr(block, "attn", None), SelfAttention) and transformer.batch_first
        return same and not any(parameter.requires_grad for parameter in block.parameters())

    if any(parameter.requires_grad for parameter in before):
        return 0
    return sum(1 for _ in takewhile(is_frozen, transformer.resblocks))
