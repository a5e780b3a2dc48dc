"""Self-distillation of CaRot."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.matching import MatchingName
from tracer_lightning.losses.base import check_temperature
from tracer_lightning.losses.matching import MatchingTerm
from tracer_lightning.types import LossInputs


class SoftCrossEntropy(MatchingTerm):
    """mean_B [H(p_T, p_S) + H(q_T, q_S)], the cross-entropy against the teacher's distributions (CaRot, Oh et al.).

    The sum of both directions, not their mean, as in the released code. It differs from
    :class:`tracer_lightning.losses.ContrastiveRelationalDistillation` by the teacher's entropies only, which have no
    gradient.

    Args:
        temperature: divides the teacher's logits alone, as in the released TRACER code's plain self-distillation.
        matching: as for :class:`tracer_lightning.losses.matching.MatchingTerm`.
    """

    needs_teacher = True

    def __init__(self, temperature: float = 1.0, matching: MatchingName = "softmax") -> None:
        super().__init__(matching)
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        return self.compare_logits(self.matching.cross_entropy, inputs, self.temperature)
