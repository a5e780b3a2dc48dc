"""What anchors need of a model, and what they are."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from tracer_lightning.types import ClipFeatures


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

    reads: frozenset[str]
    """Fields of the teacher's features that they are made of."""

    def __call__(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """(A, D) normalised text features, in the type of the teacher's.

        Args:
            model: the teacher's averaged module.
            teacher: its features of the global batch.
            step: number of optimizer steps so far.
        """
