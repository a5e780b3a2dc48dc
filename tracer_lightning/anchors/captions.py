"""Captions of the batch as anchors."""

from __future__ import annotations

from torch import Tensor, nn

from tracer_lightning.anchors.base import HasTexts
from tracer_lightning.types import ClipFeatures


class BatchCaptions(nn.Module):
    """Captions of the global batch, encoded by the teacher."""

    reads = frozenset({"text"})

    def __init__(self, model: object, prompts: Tensor) -> None:
        super().__init__()
        del model, prompts

    def forward(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """Return the teacher's text features (B, D)."""
        return teacher.text
