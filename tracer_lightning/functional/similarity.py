"""Similarity logits and the divergence between their distributions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def similarity_logits(queries: Tensor, keys: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Scaled cosine similarities, plus a bias.

    Args:
        queries: (N, D) normalised features.
        keys: (M, D) normalised features.
        scale: () exponentiated logit scale.
        bias: () logit bias; None for 0.

    Returns:
        (N, M) logits.
    """
    logits = scale * (queries @ keys.T)
    return logits if bias is None else logits + bias


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
    """KL(softmax(teacher) || softmax(student)), averaged over rows.

    Args:
        teacher_logits: (N, M).
        student_logits: (N, M).

    Returns:
        () divergence in nats.
    """
    return F.kl_div(
        student_logits.log_softmax(-1), teacher_logits.log_softmax(-1), log_target=True, reduction="batchmean"
    )
