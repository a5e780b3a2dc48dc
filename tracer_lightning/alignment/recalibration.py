"""Recalibration of the source predictor, before stage 1: a linear head whose loss has small slopes (RECRAFT, stage 0).

A difference of target and source features then changes its predictions less: |P_t(z) - P_s(z)| <= L W1 for predictors
of Lipschitz constant L. The head is trained anew, as in the released code: from a head that has converged without the
penalty, whose weights are large, its steps would not reach one of small slopes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tracer_lightning.alignment.encoding import TrainingSamples
from tracer_lightning.data.core.progress import progress_bar
from tracer_lightning.functional.distortion import lipschitz_constants
from tracer_lightning.models import ClipModel

MOST_MEASURED = 512
"""Greatest number of source samples whose slopes are measured."""
MAX_ACCURACY_LOSS = 0.1
"""Largest admissible drop of the source predictor's accuracy, absolute."""


class Recalibration(NamedTuple):
    """Settings of the recalibration."""

    penalty: float
    """rho, weight of the penalty of slopes; 0 for no recalibration."""
    tau: float
    """Slope above which a sample is penalized."""
    steps: int
    """Number of optimizer steps."""
    lr: float
    """Learning rate of the head."""


class Slopes(NamedTuple):
    """The source predictor and its slopes on source samples."""

    accuracy: float
    """Accuracy in [0, 1]."""
    slope: float
    """Mean norm of the gradient of a sample's loss with respect to the tokens that enter the body."""
    steep: float
    """Share of samples whose slope is greater than tau."""
    lipschitz: float
    """L, the greatest Lipschitz constant of the class probabilities as functions of normalised features."""


class _Tokens:
    """Context in which the tokens that enter the body are a leaf, with respect to which slopes are taken."""

    def __init__(self, model: ClipModel) -> None:
        self._module = model.model.visual.ln_pre

    def __enter__(self) -> _Tokens:
        self._handle = self._module.register_forward_hook(self._keep)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _keep(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        self.tokens = output.detach().requires_grad_()  # (B, T + 1, width)
        return self.tokens


def slopes(model: ClipModel, head: nn.Linear, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, S) of source samples, and the slope (B,) of each one's cross-entropy, with gradients.

    The released code's penalty is of the gradient of the mean over the batch, for each channel; this is of each sample.

    Args:
        model: model with the embedder of the source modality, in evaluation mode.
        head: source predictor.
        images: (B, 3, H, W) samples, as the model takes them.
        labels: (B,) their classes.
    """
    with _Tokens(model) as entering, sdpa_kernel(SDPBackend.MATH):  # others have no second derivative on CPU
        logits = head(model.encode_image(images))
        loss = F.cross_entropy(logits, labels, reduction="sum")
        (gradients,) = torch.autograd.grad(loss, entering.tokens, create_graph=True)
    return logits, gradients.flatten(1).norm(dim=1)


def measure_slopes(model: ClipModel, head: nn.Linear, samples: TrainingSamples, tau: float) -> Slopes:
    """Accuracy and slopes of a source predictor on at most :data:`MOST_MEASURED` samples."""
    right, norms_by_chunk = [], []
    for images, labels in samples.batches(MOST_MEASURED):
        logits, slope = slopes(model, head, images, labels)
        right.append(logits.argmax(dim=1) == labels)
        norms_by_chunk.append(slope.detach())
    norms = torch.cat(norms_by_chunk)
    values = (
        torch.cat(right).double().mean(),
        norms.mean(),
        (norms > tau).double().mean(),
        head_lipschitz(head.weight),
    )
    return Slopes(*(float(value) for value in values))


def head_lipschitz(weight: Tensor) -> Tensor:
    """Greatest Lipschitz constant () of the class probabilities of a linear head with a weight (S, D)."""
    return lipschitz_constants(weight.detach().double()).max()


def recalibrate(
    model: ClipModel, head: nn.Linear, samples: TrainingSamples, settings: Recalibration, batch: int, seed: int
) -> tuple[Slopes, Slopes]:
    """Train the source predictor anew, in place and from zeros, on CE + rho mean max(0, slope - tau)².

    Args:
        model: model with the embedder of the source modality, of which nothing is trained.
        head: source predictor.
        samples: source samples.
        settings: weight of the penalty, threshold, steps and learning rate.
        batch: greatest number of samples in a step.
        seed: seed of the samples of each step.

    Returns:
        The predictor before and after.

    Raises:
        ValueError: its accuracy has dropped by more than :data:`MAX_ACCURACY_LOSS`.
    """
    was_training = model.training
    model.eval()
    before = measure_slopes(model, head, samples, settings.tau)
    generator = torch.Generator().manual_seed(seed)
    parameters = list(head.requires_grad_(True).parameters())
    for parameter in parameters:
        nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=0.0)
    for _ in progress_bar(range(settings.steps), desc="recalibrating the source predictor", unit="step"):
        images, labels = samples.batch(torch.randperm(len(samples), generator=generator)[:batch])
        logits, slope = slopes(model, head, images, labels)
        penalty = (slope - settings.tau).clamp(min=0).square().mean()
        loss = F.cross_entropy(logits, labels) + settings.penalty * penalty
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad()
    head.requires_grad_(False)
    after = measure_slopes(model, head, samples, settings.tau)
    model.train(was_training)
    if after.accuracy < before.accuracy - MAX_ACCURACY_LOSS:
        raise ValueError(
            f"recalibrate.penalty={settings.penalty:g} ruins the source predictor: its accuracy falls from "
            f"{before.accuracy:.1%} to {after.accuracy:.1%}; choose a smaller penalty or a greater tau"
        )
    return before, after
