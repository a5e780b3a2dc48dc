"""What anchors need of a model, and what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from tracer_lightning.types import ClipFeatures

EncodeText = Callable[[Tensor], Tensor]
"""(N, L) tokens to (N, D) normalised features."""


class HasTexts(Protocol):
    """A model with a text tower."""

    def encode_text(self, texts: Tensor) -> Tensor:
        """(N, D) normalised features of (N, L) tokens."""

    @property
    def trims_text(self) -> bool:
        """Whether texts of any length may be given, pooled at the end-of-text token."""

    @property
    def context_length(self) -> int:
        """Tokens that a text may have."""


class Anchors(Protocol):
    """Gives the anchors of a step, the same on every rank."""

    needs_texts: bool
    """Whether they are made of the batch's captions."""

    def __call__(self, encode_text: EncodeText, teacher: ClipFeatures, step: int) -> Tensor:
        """(A, D) normalised text features.

        Args:
            encode_text: the teacher's text tower.
            teacher: its features of the global batch.
            step: optimizer steps so far.
        """
