"""Ranks of the matches of queries among candidates."""

from __future__ import annotations

import torch
from torch import Tensor

SCORES = 1 << 22
"""Maximum number of scores that are in memory at once: 16 MiB in fp32, and as much again for comparisons."""


@torch.no_grad()
def match_ranks(queries: Tensor, candidates: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Rank of the best match of each query among all candidates, by descending dot product.

    The rank is 1 + the number of candidates with a larger score. Of equal scores, the earlier candidate counts as
    larger: the result does not depend on how queries are chunked, and is that of chance for constant features.

    Args:
        queries: (Q, D) features.
        candidates: (C, D) features.
        first: (Q,) position of the first match of each query among the candidates.
        count: (Q,) number of its matches, which follow one another; at least 1.

    Returns:
        (Q,) ranks, from 1 to C.
    """
    positions = torch.arange(len(candidates), device=queries.device)
    chunk = max(1, SCORES // max(1, len(candidates)))
    ranks = []
    for start in range(0, len(queries), chunk):
        scores = queries[start : start + chunk] @ candidates.T  # (q, C)
        begin, end = (limit[start : start + chunk, None] for limit in (first, first + count))
        matches = scores.masked_fill((positions < begin) | (positions >= end), -torch.inf)
        best, place = matches.max(dim=1, keepdim=True)  # (q, 1)
        ahead = (scores > best) | ((scores == best) & (positions < place))
        ranks.append(1 + ahead.sum(dim=1))
    return torch.cat(ranks)
