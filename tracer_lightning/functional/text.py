"""Tokenised captions without what need not be computed."""

from __future__ import annotations

import torch
from torch import Tensor

MULTIPLE = 8
"""Lengths are rounded up to a multiple of this, so that few different shapes occur."""


def trim_tokens(tokens: Tensor) -> Tensor:
    """Cut captions to the longest of the batch.

    A causal text tower that pools at the end-of-text token never looks behind it, so that this changes no feature.

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
    """Each of the captions once, where enough of them repeat.

    Their number is rounded up to a multiple of an eighth of the batch, so that few different shapes occur.

    Args:
        tokens: (B, L) ids.

    Returns:
        (U, L) ids, and the row (B,) of each caption among them; the captions themselves and None where U would be B.
    """
    batch = len(tokens)
    if tokens.numel() == 0:
        return tokens, None
    different, row = torch.unique(tokens, dim=0, return_inverse=True)
    step = max(1, batch // 8)
    rounded = -(-len(different) // step) * step
    if rounded >= batch:
        return tokens, None
    padding = different[:1].expand(rounded - len(different), -1)
    return torch.cat([different, padding]), row
