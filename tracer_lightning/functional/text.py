"""Trim and deduplicate tokenised captions to save computation."""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLE = 8
"""Number to a multiple of which lengths are rounded up, so that few different shapes occur."""


def trim_tokens(tokens: Tensor) -> Tensor:
    """Trim captions to the longest of the batch.

    This changes no feature of a causal text tower that pools at the end-of-text token, as it ignores later tokens.

    Args:
        tokens: (N, context length) ids; the end-of-text token has the highest id of its row.

    Returns:
        (N, L) ids with L <= context length.
    """
    if tokens.numel() == 0:
        return tokens
    longest = int(tokens.argmax(dim=1).max()) + 1
    return tokens[:, : -(-longest // MULTIPLE) * MULTIPLE]


def unique_captions(tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """Deduplicate captions if enough of them repeat.

    The number of captions is rounded up to a multiple of an eighth of the batch, so that few different shapes occur.

    Args:
        tokens: (B, L) ids.

    Returns:
        (U, L) ids and the row (B,) of each caption among them; the captions themselves and None if U would be B.
    """
    batch = len(tokens)
    if tokens.numel() == 0:
        return tokens, None
    distinct, row = torch.unique(tokens, dim=0, return_inverse=True)
    step = max(1, batch // 8)
    rounded = -(-len(distinct) // step) * step
    if rounded >= batch:
        return tokens, None
    padding = distinct[:1].expand(rounded - len(distinct), -1)
    return torch.cat([distinct, padding]), row
