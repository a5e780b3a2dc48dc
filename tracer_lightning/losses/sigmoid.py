"""The task loss of SigLIP."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.contrastive import Positives, check_positives, positive_pairs
from tracer_lightning.functional.matching import sigmoid_loss
from tracer_lightning.functional.similarity import similarity_logits
from tracer_lightning.losses.base import LossTerm
from tracer_lightning.types import ClipFeatures, LossInputs


class SigmoidLoss(LossTerm):
    """-(1/B) Σ_ij log σ(y_ij (s I_i T_jᵀ + b)) of the student (SigLIP; Zhai et al., 2023, eq. 1).

    y is 1 for positives and -1 for all other pairs. It is open_clip's ``SigLipLoss`` of the global batch.

    Args:
        positives: as for :class:`tracer_lightning.losses.InfoNCE`; with ``same_label``, all pairs of a class are
            positives of full weight.
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale", "logit_bias"})

    def __init__(self, positives: Positives = "diagonal") -> None:
        super().__init__()
        check_positives(positives)
        self.positives = positives
        if positives == "same_label":
            self.reads = self.reads | {"labels"}

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student: ClipFeatures = inputs.student
        logits = similarity_logits(student.image, student.text, student.logit_scale, student.logit_bias)
        return sigmoid_loss(logits, positive_pairs(student.image, student.labels, self.positives))
