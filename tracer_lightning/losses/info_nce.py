"""The contrastive task loss."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.functional.contrastive import (
    Positives,
    check_positives,
    contrastive_targets,
    symmetric_cross_entropy,
)
from tracer_lightning.functional.similarity import similarity_logits
from tracer_lightning.losses.base import LossTerm
from tracer_lightning.types import ClipFeatures, LossInputs


class InfoNCE(LossTerm):
    """½ [CE(s I Tᵀ, Y) + CE(s T Iᵀ, Y)] of the student (Radford et al., 2021; the task loss of FLYP and TRACER).

    Args:
        positives: ``diagonal`` (each image with its own caption, as in the papers) or ``same_label`` (all samples of
            the class, where batches repeat classes).
        label_smoothing: share of the target spread over the batch, in [0, 1).
    """

    features = ClipFeatures
    reads = frozenset({"image", "text", "logit_scale"})

    def __init__(self, positives: Positives = "diagonal", label_smoothing: float = 0.0) -> None:
        super().__init__()
        check_positives(positives)
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing must lie in [0, 1), found {label_smoothing}")
        self.positives = positives
        self.label_smoothing = label_smoothing
        if positives == "same_label":
            self.reads = self.reads | {"labels"}

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of features (B, D)."""
        student: ClipFeatures = inputs.student
        image, text, scale = student.image, student.text, student.logit_scale
        targets = contrastive_targets(image, student.labels, self.positives)
        return symmetric_cross_entropy(
            similarity_logits(image, text, scale), similarity_logits(text, image, scale), targets, self.label_smoothing
        )
