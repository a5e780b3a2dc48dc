"""The weighted sum of terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class CompositeLoss(nn.Module):
    """Sum of weight times term, with every term returned for logging.

    It serves the losses, whose input is :class:`tracer_lightning.types.TermInputs`, and the regularizers, whose
    input is the student. A term of weight 0 is not computed.

    Args:
        terms: name to module; each maps the input to a scalar.
        weights: name to weight, finite and >= 0, for the same names.
    """

    def __init__(self, terms: Mapping[str, nn.Module], weights: Mapping[str, float]) -> None:
        super().__init__()
        if set(terms) != set(weights):
            raise ValueError(f"terms and weights must name the same, found {sorted(terms)} and {sorted(weights)}")
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight of {name} must be a finite number >= 0, found {weight}")
        self.terms = nn.ModuleDict({name: term for name, term in terms.items() if weights[name] > 0})
        self.weights = {name: float(weights[name]) for name in self.terms}

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares student and teacher."""
        return any(getattr(term, "needs_teacher", False) for term in self.terms.values())

    def forward(self, inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum (), and each term () before its weight."""
        values = {name: term(inputs) for name, term in self.terms.items()}
        total = sum((self.weights[name] * value for name, value in values.items()), start=torch.zeros(()))
        return total, values
