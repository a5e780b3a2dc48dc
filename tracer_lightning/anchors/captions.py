"""The captions of the batch."""

from __future__ import annotations

from torch import Tensor, nn

from tracer_lightning.anchors.base import HasTexts
from tracer_lightning.types import ClipFeatures


class BatchCaptions(nn.Module):
    """The captions of the global batch, as the teacher sees them."""

    reads = frozenset({"text"})

    def __init__(self, model: object, prompts: Tensor) -> None:
        super().__init__()
        del model, prompts

    def forward(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """(B, D)."""
        return teacher.text
