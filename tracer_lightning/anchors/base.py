"""Interfaces of anchors and of the models that they use."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from tracer_lightning.types import ClipFeatures


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

    reads: frozenset[str]
    """Fields of the teacher's features that they are made of."""

    def __call__(self, model: HasTexts, teacher: ClipFeatures, step: int) -> Tensor:
        """Compute the anchors of a step as normalised text features (A, D), in the type of the teacher's.

        Args:
            model: the teacher's averaged module.
            teacher: the teacher's features of the global batch.
            step: number of optimizer steps so far.
        """
