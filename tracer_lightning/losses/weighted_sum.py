"""The weighted sum of loss terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.losses.base import Term


class WeightedSum(nn.Module):
    """Sum of weight times term, with every term returned for logging.

    It serves loss terms and regularizers alike. A term of weight 0 is not computed. It reads and needs whatever one
    of its terms does.

    Args:
        terms: name to term; each maps the inputs to a scalar.
        weights: name to weight, finite and >= 0, for the same names.
        distillation_from: optimizer step, counted from 0, from which terms that compare with a teacher count.
    """

    def __init__(self, terms: Mapping[str, Term], weights: Mapping[str, float], distillation_from: int = 0) -> None:
        super().__init__()
        if set(terms) != set(weights):
            raise ValueError(f"terms and weights must name the same, found {sorted(terms)} and {sorted(weights)}")
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight of {name} must be a finite number >= 0, found {weight}")
        counted: dict[str, Term] = {name: term for name, term in terms.items() if weights[name] > 0}
        self._declared = counted
        self.terms = nn.ModuleDict(counted)
        self.weights = {name: float(weights[name]) for name in counted}
        self.distillation_from = distillation_from
        self.reads: frozenset[str] = frozenset().union(*(term.reads for term in counted.values()))
        """Fields of the features that the terms read."""
        self.with_teacher = tuple(name for name, term in counted.items() if term.needs_teacher)
        """Names of the terms that compare student and teacher."""
        self.with_anchors = tuple(name for name, term in counted.items() if term.needs_anchors)
        """Names of the terms that read anchors."""
        self.with_projections = tuple(name for name, term in counted.items() if term.needs_projections)
        """Names of the terms that read the model's projections."""
        self.with_all_weights = tuple(name for name, term in counted.items() if term.needs_all_weights)
        """Names of the terms that read all trained weights."""

    def check_features(self, features: type) -> None:
        """Raise ValueError where a term reads features of another type than those that the model gives."""
        for name, term in self._declared.items():
            if term.features is not None and not issubclass(features, term.features):
                raise ValueError(
                    f"{name} ({type(term).__name__}) reads {term.features.__name__}, and the model gives "
                    f"{features.__name__}; choose losses of the model's family"
                )
            if missing := term.reads - set(getattr(features, "_fields", ())):
                raise ValueError(f"{name} reads {', '.join(sorted(missing))}, which {features.__name__} lacks")

    def distills(self, step: int) -> bool:
        """Whether any term compares with the teacher at this optimizer step, counted from 0."""
        return bool(self.with_teacher) and step >= self.distillation_from

    def counting(self, step: int) -> tuple[str, ...]:
        """Names of the terms that count at this optimizer step, counted from 0."""
        return tuple(name for name in self.terms if self.distills(step) or name not in self.with_teacher)

    def forward(self, *inputs: Any, distill: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum () and each term () before its weight, without those that compare with a teacher if asked.

        Args:
            inputs: of each term.
            distill: whether terms that compare with a teacher count.
        """
        values = {name: term(*inputs) for name, term in self.terms.items() if distill or name not in self.with_teacher}
        total = sum((self.weights[name] * value for name, value in values.items()), start=torch.zeros(()))
        return total, values
