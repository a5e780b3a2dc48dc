"""What losses of values, in place of classes, have in common."""

from __future__ import annotations

from torch import Tensor

from tracer_lightning.losses.base import LossTerm
from tracer_lightning.types import ClipFeatures, LossInputs


class ValueTerm(LossTerm):
    """A function of the values that the head predicts and of those to predict, without the unknown ones."""

    features = ClipFeatures
    reads = frozenset({"logits", "targets"})

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () of predictions (B, ...) and targets (B, ...), which are NaN where they are unknown."""
        outputs, targets = inputs.student.logits, inputs.student.targets
        if outputs is None or targets is None:
            raise ValueError("losses of values need a head, and values to predict; the model gave none")
        known = ~targets.isnan()
        return self.compare(outputs, targets.nan_to_num(nan=0.0), known)

    def compare(self, outputs: Tensor, targets: Tensor, known: Tensor) -> Tensor:
        """Loss () of predictions (B, ...) and targets (B, ...), of which only those that are known (B, ...) count."""
        raise NotImplementedError


def mean_of_known(losses: Tensor, known: Tensor) -> Tensor:
    """Mean () of losses (B, ...) over what is known (B, ...); 0 where nothing is."""
    return (losses * known).sum() / known.sum().clamp(min=1)
