"""L2-SP: L2 distance of the weights from their start."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.losses.base import Regularizer
from tracer_lightning.types import LossInputs


class L2SP(Regularizer):
    """½ ‖theta - theta_0‖² over the trained parameters (L2-SP; Li et al., 2018).

    theta_0 is what the student is when this is made, before training. It is not saved: a continued run makes it again
    from the same origin.

    Args:
        student: the model to train, with its frozen part frozen.
    """

    needs_all_weights = True

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.names = tuple(name for name, parameter in student.named_parameters() if parameter.requires_grad)
        for number, name in enumerate(self.names):
            start = student.get_parameter(name).detach().clone()
            self.register_buffer(f"start_{number}", start, persistent=False)

    def forward(self, student: Any, inputs: LossInputs) -> Tensor:
        """Half the squared distance ()."""
        parameters = dict(student.named_parameters())
        squares = [
            (parameters[name] - getattr(self, f"start_{number}")).square().sum()
            for number, name in enumerate(self.names)
        ]
        return 0.5 * torch.stack(squares).sum()
