"""Contrastive relational distillation (CRD)."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.matching import MatchingName
from tracer_lightning.losses.base import check_temperature
from tracer_lightning.losses.matching import MatchingTerm
from tracer_lightning.types import LossInputs


class ContrastiveRelationalDistillation(MatchingTerm):
    """mean_B [KL(p_T ‖ p_S) + KL(q_T ‖ q_S)] (CRD; TRACER, eq. 23), each model with its own scale.

    p is the softmax of an image's similarities to all texts, q that of a text's to all images; T is the teacher
    and S the student. With the sigmoid, p and q are the probabilities of single pairs, and KL is summed over the pairs
    of an image or text.

    Args:
        halved: take the mean of both directions instead of their sum, as the official code does.
        temperature: divides the teacher's logits alone, as in the official code's temperature distillation; the loss
            is not multiplied by the temperature squared.
        matching: as for :class:`tracer_lightning.losses.matching.MatchingTerm`.
    """

    needs_teacher = True

    def __init__(self, halved: bool = False, temperature: float = 1.0, matching: MatchingName = "softmax") -> None:
        super().__init__(matching)
        check_temperature(temperature)
        self.halved, self.temperature = halved, temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        total = self.compare_logits(self.matching.divergence, inputs, self.temperature)
        return 0.5 * total if self.halved else total
