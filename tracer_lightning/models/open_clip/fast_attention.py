"""Faster computation of open_clip's transformers, with equal results up to rounding.

Only the class of modules is changed in place: parameters, names and hooks stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


class SelfAttention(nn.MultiheadAttention):
    """Multi-head attention on (N, L, width) without changes of the memory layout.

    torch's implementation transposes tokens and batch and copies queries, keys and values. Without gradients and under
    autocast, its projection then becomes a batched product, for which the weights are copied per sample on CPU.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """Compute attention as ``nn.MultiheadAttention``, which handles all calls but those of open_clip's blocks.

        Args:
            query: (N, L, width) queries: the keys, or some of their tokens.
            key: (N, M, width) keys.
            value: values, which must be the keys for the fast path.
            args: further positional arguments, which are passed to torch.
            kwargs: ``need_weights=False`` and ``attn_mask``; other keyword arguments are passed to torch.

        Returns:
            (N, L, width) outputs, and the attention weights if they are requested, else None.
        """
        mask = kwargs.get("attn_mask")
        keywords_known = kwargs.keys() <= {"need_weights", "attn_mask"} and kwargs.get("need_weights") is False
        supported = key is value and self.batch_first and not self.dropout and query.dim() == 3
        if args or not (keywords_known and supported and (mask is None or mask.dim() == 2)):
            return super().forward(query, key, value, *args, **kwargs)
        q, k, v = self._project(query, key)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2)), None

    def _project(self, query: Tensor, key: Tensor) -> list[Tensor]:
        """Compute queries, keys and values, (N, heads, L or M, width / heads) each."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key:
            parts = F.linear(query, weight, bias).chunk(3, dim=-1)
        else:
            queries = F.linear(query, weight[:width], bias[:width])
            parts = (queries, *F.linear(key, weight[width:], bias[width:]).chunk(2, dim=-1))
        return [part.view(*part.shape[:2], self.num_heads, -1).transpose(1, 2) for part in parts]


def patch_product(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve patches that don't overlap, as one matrix product.

    Args:
        images: (N, C, H, W), whose sides those of a patch divide.
        weight: (width, C, P, Q) of patches P x Q.
        bias: (width,), or None.

    Returns:
        (N, width, H / P, W / Q).
    """
    (rows, columns), (count, channels, height, width) = weight.shape[2:], images.shape
    patches = images.reshape(count, channels, height // rows, rows, width // columns, columns)
    pixels = patches.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (N, H / P, W / Q, C P Q)
    return F.linear(pixels, weight.flatten(1), bias).permute(0, 3, 1, 2)


class PatchEmbedding(nn.Conv2d):
    """Convolution of a ViT over its patches, which is a matrix product on a GPU.

    Under bf16, cuDNN's convolution takes 4 ms for 512 images of 224 pixels where the product takes a fraction of one.
    On a CPU both take the same time in fp32, and the convolution does not depend on the other images of a batch.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Compute the patches (N, width, H / P, W / P) of images (N, C, H, W)."""
        (rows, columns), (height, width) = self.kernel_size, images.shape[2:]
        if images.device.type == "cpu" or height % rows or width % columns:
            return super().forward(images)
        return patch_product(images, self.weight, self.bias)


class ClassTokenBlock(ResidualAttentionBlock):  # type: ignore[misc]
    """Last block of a ViT that pools its class token; it computes only this token, from all tokens."""

    all_tokens = False
    """Whether all tokens are computed (:func:`all_tokens`)."""

    def forward(
        self, q_x: Tensor, k_x: Tensor | None = None, v_x: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """Compute the class token (N, 1, width), or all tokens, from tokens ``q_x`` (N, L, width)."""
        if self.all_tokens or not self.attn.batch_first:
            return super().forward(q_x, k_x, v_x, attn_mask)  # type: ignore[no-any-return]
        normed = self.ln_1(q_x)
        x = q_x[:, :1] + self.ls_1(self.attention(normed[:, :1], normed, normed))
        return x + self.ls_2(self.mlp(self.ln_2(x)))  # type: ignore[no-any-return]


def use_fast_attention(model: nn.Module) -> None:
    """Enable the faster computation in an open_clip model, for modules of open_clip's and torch's own classes."""
    for block in model.modules():
        attention = getattr(block, "attn", None)
        if type(block) is ResidualAttentionBlock and type(attention) is nn.MultiheadAttention:
            attention.__class__ = SelfAttention
    visual: Any = getattr(model, "visual", None)
    if not isinstance(visual, VisionTransformer):
        return
    if type(visual.conv1) is nn.Conv2d and visual.conv1.kernel_size == visual.conv1.stride:
        visual.conv1.__class__ = PatchEmbedding
    if visual.attn_pool is not None or visual.output_tokens:
        return
    last = visual.transformer.resblocks[-1]
    if visual.pool_type == "tok" and visual.transformer.batch_first and type(last) is ResidualAttentionBlock:
        last.__class__ = ClassTokenBlock


def compute_all_tokens(model: nn.Module) -> None:
    """Let every block of a model compute all its tokens from now on, also where a backward pass computes it again."""
    for block in _class_token_blocks(model):
        block.all_tokens = True


@contextmanager
def all_tokens(model: nn.Module) -> Iterator[None]:
    """Let every block of a model compute all its tokens within the context."""
    compute_all_tokens(model)
    try:
        yield
    finally:
        for block in _class_token_blocks(model):
            del block.all_tokens


def _class_token_blocks(model: nn.Module) -> list[ClassTokenBlock]:
    return [module for module in model.modules() if isinstance(module, ClassTokenBlock)]
