"""What stage 1 minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Distance = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Target points (N, D) and labels (N,), source points (M, D) and labels (M,), to a distance ()."""
LabelTerm = Callable[[Tensor, Tensor], Tensor]
"""Source predictions (N, S) and target labels (N,) to a term ()."""
Schedule = Literal["joint", "sequential"]
DISTANCE_SHARE = 0.75
"""Share of the steps that a sequential schedule spends on the distance."""


class Objective:
    """A distance of target to source samples, and a term of target labels and source predictions.

    Args:
        distance: distance to minimise, in units of the source's own; None for none.
        label_term: such as :func:`tracer_lightning.functional.distortion.distortion`; None for none.
        weight: lambda, weight of the label term.
        schedule: ``joint``, or ``sequential`` for the distance first and then the label term, as in the released code.

    Raises:
        ValueError: a sequential schedule lacks one of its two parts.
    """

    def __init__(
        self, distance: Distance | None, label_term: LabelTerm | None, weight: float, schedule: Schedule = "joint"
    ) -> None:
        if schedule == "sequential" and (distance is None or label_term is None):
            raise ValueError("schedule must be 'joint' for an objective of one term, got 'sequential'")
        self.distance, self.label_term, self.weight, self.schedule = distance, label_term, weight, schedule

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to minimise."""
        return self.distance is None and self.label_term is None

    def terms(self, progress: float) -> tuple[Distance | None, LabelTerm | None]:
        """The distance and the label term that count after a share of the steps, in [0, 1)."""
        if self.schedule == "joint":
            return self.distance, self.label_term
        return (self.distance, None) if progress < DISTANCE_SHARE else (None, self.label_term)
