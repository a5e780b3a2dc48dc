"""Trimming of tokenised captions."""

from __future__ import annotations

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
