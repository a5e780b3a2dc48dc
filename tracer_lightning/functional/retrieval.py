"""Ranks of the matches of queries among candidates."""

from __future__ import annotations

import torch
from torch import Tensor

SCORES = 1 << 21
"""Maximum number of scores that are in memory at once: 8 MiB in fp32, and a few times as much for comparisons."""


def match_scores(queries: Tensor, candidates: Tensor) -> Tensor:
    """Dot products (Q, C) of features (Q, D) and (C, D), -inf in place of NaN: what is no number matches worst."""
    return (queries @ candidates.T).nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


@torch.no_grad()
def match_ranks(queries: Tensor, candidates: Tensor, first: Tensor, count: Tensor) -> Tensor:
    """Rank of the best match of each query among all candidates, by descending dot product.

    The rank is 1 + the number of candidates with a larger score. Of equal scores, the earlier candidate counts as
    larger: the result does not depend on how queries are chunked, and is that of chance for features that are constant
    or NaN.

    Args:
        queries: (Q, D) features.
        candidates: (C, D) features.
        first: (Q,) position of the first match of each query among the candidates.
        count: (Q,) number of its matches, which follow one another; at least 1.

    Returns:
        (Q,) ranks, from 1 to C.
    """
    offsets = torch.arange(int(count.max()), device=queries.device)
    chunk = max(1, SCORES // max(1, len(candidates)))
    ranks = torch.empty_like(first)  # small tensors made between large ones would fragment the memory
    for start in range(0, len(queries), chunk):
        scores = match_scores(queries[start : start + chunk], candidates)  # (q, C)
        begin, length = (values[start : start + chunk, None] for values in (first, count))
        places = begin + torch.minimum(offsets, length - 1)  # (q, K), the last match repeated
        best, match = scores.gather(1, places).max(dim=1, keepdim=True)  # (q, 1)
        ahead = (scores > best).sum(dim=1)
        tied = (scores == best).sum(dim=1) > 1
        before = torch.arange(len(candidates), device=queries.device) < places.gather(1, match)[tied]
        ahead[tied] += ((scores[tied] == best[tied]) & before).sum(dim=1)
        ranks[start : start + chunk] = 1 + ahead
    return ranks
