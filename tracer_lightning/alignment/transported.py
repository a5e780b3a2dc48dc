"""A predictor of target classes, or values, that is made of the source predictor, without training a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracer_lightning.functional.distortion import transported_log_probabilities

RAREST = 1e-6
"""Probabilities below, and those as near to 1, are taken for it in logits."""


class TransportedPredictor(nn.Module):
    """Target classes by way of source classes: q(z' | u) = sum_z P(z' | z) p_s(z | u), of features u.

    Where values are predicted, the classes are clusters of them, and the prediction is the mean of the clusters' own.

    It stands for the model before training, since a new modality has no zero-shot classifier: no text tower has seen
    its classes together with such samples.

    Args:
        weight: (S, D) weight of the source predictor.
        bias: (S,) bias of the source predictor.
        transition: (C, S) P(Z' | Z), of target samples.
        values: (C, ...) mean values of each cluster; None for classes.
        binary: whether values are probabilities, whose logits are predicted.
    """

    weight: Tensor
    bias: Tensor
    transition: Tensor
    values: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor, transition: Tensor, values: Tensor | None = None, binary: bool = False
    ) -> None:
        super().__init__()
        for name, value in (("weight", weight), ("bias", bias), ("transition", transition), ("values", values)):
            self.register_buffer(name, None if value is None else value.detach().clone(), persistent=False)
        self.binary = binary

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """(B, C) log-probabilities of normalised features (B, D), or values (B, ...)."""
        probabilities = nn.functional.linear(features.to(self.weight.dtype), self.weight, self.bias).softmax(dim=-1)
        predicted = transported_log_probabilities(probabilities, self.transition)
        if self.values is None:
            return predicted
        values: Tensor = torch.tensordot(predicted.exp(), self.values, dims=1)
        return values.logit(eps=RAREST) if self.binary else values
