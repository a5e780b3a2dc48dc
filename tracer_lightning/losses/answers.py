"""Losses of models that answer questions: means over the answered tokens of an optimizer step.

Each is the sum over a batch of this rank, divided by the mean number of tokens per rank and accumulated batch. So the
mean over both, which DDP and Lightning take of gradients, is the mean over all tokens of the step, however they are
distributed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tracer_lightning.losses.base import LossTerm, check_temperature, require_teacher
from tracer_lightning.types import AnswerLogits, LossInputs


class AnswerCrossEntropy(LossTerm):
    """CE of the next token, mean over the tokens of the answers and their ends (supervised fine-tuning)."""

    features = AnswerLogits
    reads = frozenset({"logits", "targets", "tokens"})

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of logits (T, V) and targets (T,)."""
        answers: AnswerLogits = inputs.student
        return _mean(F.cross_entropy(answers.logits, answers.targets, reduction="sum"), answers)


class AnswerKL(LossTerm):
    """T² KL(softmax(z_T / T) ‖ softmax(z_S / T)) of the logits z of the next token (Hinton et al., 2015).

    Mean over the tokens of the answers and their ends, in the context of the true answer.

    Args:
        temperature: T.
    """

    features = AnswerLogits
    reads = frozenset({"logits", "tokens"})
    needs_teacher = True

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, inputs: LossInputs) -> Tensor:
        """Loss () in nats of logits (T, V)."""
        student, teacher = inputs.student, require_teacher(inputs)
        logs = [(answers.logits / self.temperature).log_softmax(dim=-1) for answers in (student, teacher)]
        divergence = F.kl_div(logs[0], logs[1].detach(), reduction="sum", log_target=True)
        return _mean(self.temperature**2 * divergence, student)


def _mean(total: Tensor, answers: AnswerLogits) -> Tensor:
    """This batch's share () in the mean over the tokens of its step; 0 where the step has none."""
    share: Tensor = total / answers.tokens.clamp(min=torch.finfo(answers.tokens.dtype).tiny)
    return share
