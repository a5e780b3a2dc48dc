"""Interfaces of anchors and of the models that they use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from tracer_lightning.types import ClipFeatures

EncodeText = Callable[[Tensor], Tensor]
"""Function from tokens (N, L) to normalised features (N, D)."""


class HasTexts(Protocol):
    """A model with a text tower."""

    def encode_text(self, texts: Tensor) -> Tensor:
        """Encode tokens (N, L) as normalised features (N, D)."""

    @property
    def trims_text(self) -> bool:
        """Whether texts may have any length, as they are pooled at the end-of-text token."""

    @property
    def context_length(self) -> int:
        """Largest number of tokens of a text."""


class Anchors(Protocol):
    """Callable that returns the anchors of a step, which are the same on every rank."""

    needs_texts: bool
    """Whether the anchors are computed from the batch's captions."""

    def __call__(self, encode_text: EncodeText, teacher: ClipFeatures, step: int) -> Tensor:
        """Compute the anchors of a step as normalised text features (A, D).

        Args:
            encode_text: the teacher's text tower.
            teacher: the teacher's features of the global batch.
            step: number of optimizer steps so far.
        """
