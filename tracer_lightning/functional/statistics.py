"""Statistics of a model's matching of images and captions, and of the disagreement of two models.

They are computed from p = softmax(s I Tᵀ), rows image to text, and q = softmax(s T Iᵀ), rows text to image, over the
captions and images of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracer_lightning.types import ClipFeatures

TIE = 1e-4
"""Largest difference of log-probabilities, in nats, caused by rounding in single precision."""


def matching_log_probabilities(features: ClipFeatures) -> Tensor:
    """Logarithms of p and q, in double precision for double features, else in single precision.

    Args:
        features: image and text features (B, D) and the scale of their logits.

    Returns:
        (2, B, B), image to text first.
    """
    image, text, scale = (value if value.dtype == torch.double else value.float() for value in features[:3])
    logits = scale * image @ text.T  # (B, B)
    return torch.stack([logits, logits.T]).log_softmax(dim=-1)


def mean_entropy(log_probabilities: Tensor) -> Tensor:
    """Mean over both directions and all rows of -Σ p log p.

    Args:
        log_probabilities: (2, B, B).

    Returns:
        () in nats; 0 to log B.
    """
    return -(log_probabilities.exp() * log_probabilities).sum(dim=-1).mean()


def mean_confidence(log_probabilities: Tensor) -> Tensor:
    """Mean over both directions and all rows of max p.

    Args:
        log_probabilities: (2, B, B).

    Returns:
        () in [1 / B, 1].
    """
    return log_probabilities.amax(dim=-1).exp().mean()


def mean_divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Mean over both directions and all rows of KL(p_T ‖ p_S) = Σ p_T (log p_T - log p_S).

    It is half of the paper's CRD (eq. 23), which sums over the directions.

    Args:
        teacher: (2, B, B) log-probabilities of the teacher.
        student: (2, B, B) log-probabilities of the student.

    Returns:
        () in nats, >= 0.
    """
    return (teacher.exp() * (teacher - student)).sum(dim=-1).mean()


def mean_true_pair(log_probabilities: Tensor) -> Tensor:
    """Mean over both directions and all rows of the probability of the sample's own partner, the diagonal of p and q.

    It does not depend on the loss's choice of positives. If n samples of the batch share a caption, it is at most 1 / n
    in their rows.

    Args:
        log_probabilities: (2, B, B).

    Returns:
        () in [0, 1].
    """
    return log_probabilities.diagonal(dim1=-2, dim2=-1).exp().mean()


def top_overlap(teacher: Tensor, student: Tensor, k: int) -> Tensor:
    """Share of the student's k most probable entries that are among the teacher's, averaged over rows and directions.

    Samples with the same caption are equally probable up to rounding, so entries that tie with the teacher's k-th entry
    count.

    Args:
        teacher: (2, B, B) log-probabilities of the teacher.
        student: (2, B, B) log-probabilities of the student.
        k: number of entries, at most B, where all overlap. With 1 the result is the rate of agreement.

    Returns:
        () in [0, 1].
    """
    k = min(k, teacher.shape[-1])
    threshold = teacher.topk(k).values[..., -1:]  # (2, B, 1)
    selected = teacher.gather(-1, student.topk(k).indices)  # (2, B, k)
    return (selected >= threshold - TIE).to(teacher.dtype).mean()
