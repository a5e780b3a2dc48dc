"""The weighted sum of terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """Sum of weight times term, with every term returned for logging.

    It serves the losses, whose input is :class:`tracer_lightning.types.LossInputs`, and the regularizers, whose
    inputs are the student and these. A term of weight 0 is not computed.

    Args:
        terms: name to module; each maps the inputs to a scalar.
        weights: name to weight, finite and >= 0, for the same names.
        anchors: gives the anchor texts that terms compare images with.
        distillation_from: optimizer step, counted from 0, from which terms that compare with a teacher count.
    """

    def __init__(
        self,
        terms: Mapping[str, nn.Module],
        weights: Mapping[str, float],
        anchors: nn.Module | None = None,
        distillation_from: int = 0,
    ) -> None:
        super().__init__()
        if set(terms) != set(weights):
            raise ValueError(f"terms and weights must name the same, found {sorted(terms)} and {sorted(weights)}")
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"weight of {name} must be a finite number >= 0, found {weight}")
        self.terms = nn.ModuleDict({name: term for name, term in terms.items() if weights[name] > 0})
        self.weights = {name: float(weights[name]) for name in self.terms}
        anchored = [name for name, term in self.terms.items() if getattr(term, "needs_anchors", False)]
        if anchored and anchors is None:
            raise ValueError(f"terms: {', '.join(anchored)} need anchor texts; choose some (anchors=context_prompts)")
        self.anchors = anchors if anchored else None
        self.distillation_from = distillation_from

    def _any(self, need: str, default: bool = False) -> bool:
        return any(getattr(term, need, default) for term in self.terms.values())

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares student and teacher."""
        return self._any("needs_teacher")

    @property
    def needs_head(self) -> bool:
        """Whether any term is of the head's logits."""
        return self._any("needs_head")

    @property
    def needs_texts(self) -> bool:
        """Whether any term looks at captions, as those do that don't say otherwise."""
        return self._any("needs_texts", default=True) or bool(getattr(self.anchors, "needs_texts", False))

    @property
    def needs_scale(self) -> bool:
        """Whether any term is of the student's logit scale, as those are that don't say otherwise."""
        return self._any("needs_scale", default=True)

    @property
    def needs_all_weights(self) -> bool:
        """Whether any term is of all trained weights, and not only of those outside the towers' blocks."""
        return self._any("needs_all_weights")

    def distills(self, step: int) -> bool:
        """Whether any term compares with the teacher at this optimizer step, counted from 0."""
        return self.needs_teacher and step >= self.distillation_from

    def forward(self, *inputs: Any, distill: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum (), and each term () before its weight; without those that compare with a teacher."""
        terms = {
            name: term for name, term in self.terms.items() if distill or not getattr(term, "needs_teacher", False)
        }
        values = {name: term(*inputs) for name, term in terms.items()}
        total = sum((self.weights[name] * value for name, value in values.items()), start=torch.zeros(()))
        return total, values
