"""Two readings of the logits of image-text pairs: softmax over the batch (CLIP), and a sigmoid of each pair (SigLIP).

Every loss of pairs is defined for both. With the softmax, an image's caption is one of the batch, so that a bias of all
logits cancels. With the sigmoid, each of the B² pairs is a binary decision of its own, which the bias is part of; sums
over the pairs of an image take the place of the softmax's sums over its captions.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.functional.contrastive import (
    Positives,
    contrastive_targets,
    positive_pairs,
    symmetric_cross_entropy,
)
from tracer_lightning.functional.similarity import kl_divergence, similarity_logits
from tracer_lightning.types import ClipFeatures

MatchingName = Literal["softmax", "sigmoid"]


class Matching(Protocol):
    """How the logits of pairs, (B, B) with one row per query, become probabilities and losses."""

    reads: frozenset[str]
    """Fields of the features that logits are made of, besides image and text."""

    def logits(self, queries: Tensor, keys: Tensor, model: ClipFeatures) -> Tensor:
        """(B, B) logits of normalised features (B, D) with the scale, and possibly the bias, of a model."""

    def contrast(
        self, image_logits: Tensor, text_logits: Tensor, labels: Tensor | None, positives: Positives
    ) -> Tensor:
        """Contrastive loss () in nats, the mean of image-to-text and text-to-image logits (B, B).

        Args:
            image_logits: (B, B), rows image to text.
            text_logits: (B, B), rows text to image.
            labels: (B,) class indices; needed for ``same_label``.
            positives: as for :func:`tracer_lightning.functional.contrastive.contrastive_targets`.
        """

    def divergence(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        """KL divergence () in nats of the student's probabilities from the teacher's, mean over rows."""

    def cross_entropy(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        """Cross-entropy () in nats of the student's probabilities against the teacher's, mean over rows."""

    def both_ways(self, logits: Tensor) -> Tensor:
        """Probability of each pair in both directions, added, (B, B)."""


class Softmax:
    """Each query matches one of the keys, with probabilities that add up to one (Radford et al., 2021)."""

    reads = frozenset({"logit_scale"})

    def logits(self, queries: Tensor, keys: Tensor, model: ClipFeatures) -> Tensor:
        """See :meth:`Matching.logits`."""
        return similarity_logits(queries, keys, model.logit_scale)

    def contrast(
        self, image_logits: Tensor, text_logits: Tensor, labels: Tensor | None, positives: Positives
    ) -> Tensor:
        """Symmetric cross-entropy; see :meth:`Matching.contrast`."""
        targets = contrastive_targets(image_logits, labels, positives)
        return symmetric_cross_entropy(image_logits, text_logits, targets)

    def divergence(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        """KL(softmax(z_T) ‖ softmax(z_S)); see :meth:`Matching.divergence`."""
        return kl_divergence(teacher_logits, student_logits)

    def cross_entropy(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        """H(softmax(z_T), softmax(z_S)); see :meth:`Matching.cross_entropy`."""
        return F.cross_entropy(student_logits, teacher_logits.softmax(dim=-1))

    def both_ways(self, logits: Tensor) -> Tensor:
        """Softmax over rows plus softmax over columns; see :meth:`Matching.both_ways`."""
        return logits.softmax(dim=1) + logits.softmax(dim=0)


class Sigmoid:
    """Each pair matches or not, with the probability sigmoid(z) (SigLIP; Zhai et al., 2023).

    Losses are sums over the pairs of a query, so that they are B times as large as a mean over all pairs.
    """

    reads = frozenset({"logit_scale", "logit_bias"})

    def logits(self, queries: Tensor, keys: Tensor, model: ClipFeatures) -> Tensor:
        """See :meth:`Matching.logits`."""
        return similarity_logits(queries, keys, model.logit_scale, model.logit_bias)

    def contrast(
        self, image_logits: Tensor, text_logits: Tensor, labels: Tensor | None, positives: Positives
    ) -> Tensor:
        """Mean of both directions' :func:`sigmoid_loss`; see :meth:`Matching.contrast`."""
        matches = positive_pairs(image_logits, labels, positives)
        return 0.5 * (sigmoid_loss(image_logits, matches) + sigmoid_loss(text_logits, matches))

    def divergence(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        """KL of Bernoulli distributions, Σ_j KL(σ(z_T) ‖ σ(z_S)); see :meth:`Matching.divergence`."""
        probability = teacher_logits.sigmoid()
        match = probability * (F.logsigmoid(teacher_logits) - F.logsigmoid(student_logits))
        mismatch = (1 - probability) * (F.logsigmoid(-teacher_logits) - F.logsigmoid(-student_logits))
        return (match + mismatch).sum(dim=-1).mean()

    def cross_entropy(self, teacher_logits: Tensor, student_logits: Tensor) -> Tensor:
        """Binary cross-entropy Σ_j H(σ(z_T), σ(z_S)); see :meth:`Matching.cross_entropy`."""
        entropies = F.binary_cross_entropy_with_logits(student_logits, teacher_logits.sigmoid(), reduction="none")
        return entropies.sum(dim=-1).mean()

    def both_ways(self, logits: Tensor) -> Tensor:
        """2 σ(z), as a pair's probability has no direction; see :meth:`Matching.both_ways`."""
        return 2 * logits.sigmoid()


def sigmoid_loss(logits: Tensor, matches: Tensor) -> Tensor:
    """-(1/B) Σ_ij log σ(y_ij z_ij), where y is 1 for pairs that match and -1 for others (Zhai et al., 2023, eq. 1).

    Args:
        logits: (B, B).
        matches: (B, B) booleans.

    Returns:
        () loss in nats.
    """
    loss: Tensor = -F.logsigmoid(logits.where(matches, -logits)).sum() / len(logits)
    return loss


MATCHINGS: dict[str, Matching] = {"softmax": Softmax(), "sigmoid": Sigmoid()}


def find_matching(name: str) -> Matching:
    """The matching of this name; ValueError for an unknown one."""
    if name not in MATCHINGS:
        raise ValueError(f"matching must be one of {', '.join(get_args(MatchingName))}, found {name!r}")
    return MATCHINGS[name]
