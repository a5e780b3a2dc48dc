"""open_clip's transformers, computed with less work and the same result but for rounding.

Modules change their class in place and nothing else: parameters, names and hooks stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


class SelfAttention(nn.MultiheadAttention):
    """Attention on (N, L, width) as it lies in memory.

    torch's own transposes tokens and batch and copies queries, keys and values. Without gradients, under autocast, its
    projection then becomes a batched product for which, on CPU, the weights are copied for each sample.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """As ``nn.MultiheadAttention``, to which all is left but what open_clip's blocks ask for.

        Args:
            query: (N, L, width); itself the key and value, or some of its tokens.
            key: (N, M, width).
            value: the key.
            args: left to torch, as are all keywords but ``need_weights=False`` and ``attn_mask``.
            kwargs: see ``args``.

        Returns:
            (N, L, width) and the weights, None unless they are asked for.
        """
        mask = kwargs.get("attn_mask")
        usual = not args and kwargs.keys() <= {"need_weights", "attn_mask"} and kwargs.get("need_weights") is False
        own = key is value and self.batch_first and not self.dropout and query.dim() == 3
        if not (usual and own and (mask is None or mask.dim() == 2)):
            return super().forward(query, key, value, *args, **kwargs)
        q, k, v = self._projected(query, key)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2)), None

    def _projected(self, query: Tensor, key: Tensor) -> list[Tensor]:
        """Queries, keys and values, (N, heads, L or M, width / heads) each."""
        weight, bias, width = self.in_proj_weight, self.in_proj_bias, self.embed_dim
        if query is key:
            parts = F.linear(query, weight, bias).chunk(3, dim=-1)
        else:
            asking = F.linear(query, weight[:width], bias[:width])
            parts = (asking, *F.linear(key, weight[width:], bias[width:]).chunk(2, dim=-1))
        return [part.view(*part.shape[:2], self.num_heads, -1).transpose(1, 2) for part in parts]


class LastBlock(ResidualAttentionBlock):  # type: ignore[misc]
    """The last block of a ViT which pools its class token: that is computed, from all tokens, and no other."""

    whole = False
    """Whether all tokens are wanted (:func:`whole_blocks`)."""

    def forward(
        self, q_x: Tensor, k_x: Tensor | None = None, v_x: Tensor | None = None, attn_mask: Tensor | None = None
    ) -> Tensor:
        """The class token (N, 1, width) from tokens ``q_x`` (N, L, width), or all tokens."""
        if self.whole or not self.attn.batch_first:
            return super().forward(q_x, k_x, v_x, attn_mask)  # type: ignore[no-any-return]
        normed = self.ln_1(q_x)
        x = q_x[:, :1] + self.ls_1(self.attention(normed[:, :1], normed, normed))
        return x + self.ls_2(self.mlp(self.ln_2(x)))  # type: ignore[no-any-return]


def use_fast_attention(model: nn.Module) -> None:
    """Let an open_clip model's transformers compute what is needed, where they are of the usual kind."""
    for block in model.modules():
        attention = getattr(block, "attn", None)
        if type(block) is ResidualAttentionBlock and type(attention) is nn.MultiheadAttention:
            attention.__class__ = SelfAttention
    visual: Any = getattr(model, "visual", None)
    if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None or visual.output_tokens:
        return
    last = visual.transformer.resblocks[-1]
    if visual.pool_type == "tok" and visual.transformer.batch_first and type(last) is ResidualAttentionBlock:
        last.__class__ = LastBlock


@contextmanager
def whole_blocks(model: nn.Module) -> Iterator[None]:
    """Within, every block of ``model`` gives all its tokens."""
    last = [module for module in model.modules() if isinstance(module, LastBlock)]
    for block in last:
        block.whole = True
    try:
        yield
    finally:
        for block in last:
            del block.whole
