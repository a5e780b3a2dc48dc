"""A predictor of target classes that is made of the source predictor, without training a head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracer_lightning.functional.distortion import transported_log_probabilities


class TransportedPredictor(nn.Module):
    """Target classes by way of source classes: q(z' | u) = sum_z P(z' | z) p_s(z | u), of features u.

    It stands for the model before training, since a new modality has no zero-shot classifier: no text tower has seen
    its classes together with such samples.

    Args:
        weight: (S, D) weight of the source predictor.
        bias: (S,) bias of the source predictor.
        given: (C, S) P(Z' | Z), of target samples.
    """

    weight: Tensor
    bias: Tensor
    given: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, given: Tensor) -> None:
        super().__init__()
        for name, value in (("weight", weight), ("bias", bias), ("given", given)):
            self.register_buffer(name, value.detach().clone(), persistent=False)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """(B, C) log-probabilities of normalised features (B, D)."""
        probabilities = nn.functional.linear(features.to(self.weight.dtype), self.weight, self.bias).softmax(dim=-1)
        return transported_log_probabilities(probabilities, self.given)
