"""KL divergence between the head's logits of student and teacher."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.similarity import kl_divergence
from tracer_lightning.losses.base import LossTerm, check_temperature, require_teacher
from tracer_lightning.types import ClipFeatures, LossInputs


class HeadDivergence(LossTerm):
    """T² KL(softmax(z_T / T) ‖ softmax(z_S / T)) of the heads' logits z, mean over B (Hinton et al., 2015).

    Args:
        temperature: T.
    """

    features = ClipFeatures
    reads = frozenset({"logits"})
    needs_teacher = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of logits (B, C)."""
        student, teacher = inputs.student.logits, require_teacher(inputs).logits
        if student is None or teacher is None:
            raise ValueError("distillation of logits needs a head, and the model gave no logits")
        return self.temperature**2 * kl_divergence(teacher / self.temperature, student / self.temperature)
