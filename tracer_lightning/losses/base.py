"""The contract of loss terms: what they declare, and what they have in common."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from tracer_lightning.types import LossInputs


class Term(nn.Module):
    """A part of the loss, pure: no logging, no devices, no ranks.

    A subclass declares in its class, or in its constructor where that depends on its arguments, what it reads.
    """

    features: ClassVar[type | None] = None
    """Type of the features that the term reads, which the model must give; None for any."""
    reads: frozenset[str] = frozenset()
    """Fields of the student's features that the term reads. Models compute no field that no term reads."""
    needs_teacher: bool = False
    """Whether the term compares student and teacher; it reads the same fields of both, except targets (labels)."""
    needs_anchors: bool = False
    """Whether the term reads anchors."""
    needs_projections: bool = False
    """Whether the term reads the linear projections of images and texts to the shared space."""
    needs_all_weights: bool = False
    """Whether the term reads all trained weights, also those inside the blocks that sharded training keeps apart."""


class LossTerm(Term):
    """A scalar function of the features of the global batch."""

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss ()."""
        raise NotImplementedError


class Regularizer(Term):
    """A scalar function of the student's weights and, perhaps, of the features of the batch."""

    def forward(self, student: Any, inputs: LossInputs) -> Tensor:
        """The penalty ()."""
        raise NotImplementedError


def require_teacher(inputs: LossInputs) -> Any:
    """The teacher's features; ValueError where there are none."""
    if inputs.teacher is None:
        raise ValueError("a distillation loss needs a teacher, and there is none; give one, or remove the loss")
    return inputs.teacher


def check_temperature(temperature: float) -> None:
    """Raise ValueError unless the temperature of a teacher's logits is a positive number."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a finite number > 0, found {temperature}")
