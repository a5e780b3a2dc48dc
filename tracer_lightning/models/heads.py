"""Linear heads: logits = W x + b of normalised image features x, or values in place of logits.

Each function makes one for a model, from the class prompts, the training images or the values to predict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tracer_lightning.functional.logistic_regression import logistic_regression
from tracer_lightning.functional.zero_shot import prompt_features, zero_shot_head
from tracer_lightning.models.model import Model
from tracer_lightning.models.open_clip.clip import ClipModel
from tracer_lightning.models.open_clip.embedders import ConvolutionEmbedder
from tracer_lightning.models.value_heads import PixelHead, ValueHead
from tracer_lightning.types import TargetSpec

Features = Callable[[], tuple[Tensor, Tensor]]
"""Extracts normalised image features (N, D) and labels (N,) of the training images."""


def no_head(model: Model, **context: Any) -> None:
    """No head: CLIP models classify with the text tower, and models of other families need none."""


def kept_head(model: ClipModel, prompts: Tensor, features: Features | None = None) -> nn.Linear:
    """The head that came with the weights.

    Raises:
        ValueError: there is none, or it is of other classes.
    """
    if model.head is None:
        raise ValueError("model must have a head to keep, but its weights have none; initialise one instead")
    if model.head.out_features != len(prompts):
        raise ValueError(
            f"model must have a head for {len(prompts)} classes, as the data have, got {model.head.out_features}; "
            "initialise one instead"
        )
    return model.head.requires_grad_(True)  # parameter-efficient methods froze all that there was


def zero_shot_linear(model: ClipModel, prompts: Tensor, features: Features | None = None) -> nn.Linear:
    """The zero-shot head as a linear layer: W = s times the class vectors, b = 0 (WiSE-FT; Wortsman et al., 2022).

    Args:
        model: whose text tower and logit scale s are taken.
        prompts: (C, P, L) tokens of every template for every class.
        features: unused.
    """
    classes = zero_shot_head(model.encode_text, prompts)  # (C, D)
    return _linear(model.logit_scale.detach() * classes)


def random_linear(model: ClipModel, prompts: Tensor, features: Features | None = None) -> nn.Linear:
    """A head that knows nothing, initialised as torch does."""
    width = prompt_features(model.encode_text, prompts[:1, :1]).shape[-1]
    return nn.Linear(width, len(prompts)).to(prompts.device)


def random_values(model: ClipModel, outputs: TargetSpec, features: Features | None = None) -> ValueHead:
    """A head of values (K,) that knows their means only; its weights are random.

    They are as large as torch makes them for features of variance 1, while those of CLIP have the norm 1.

    Raises:
        ValueError: the values are pixels.
    """
    if outputs.mean.ndim != 1:
        raise ValueError(f"outputs must be values (K,), and have the shape {tuple(outputs.mean.shape)}; choose pixels")
    width = model.image_projection.shape[1]
    head = ValueHead(width, len(outputs.mean)).to(outputs.mean.device)
    with torch.no_grad():
        head.weight *= width**0.5
    _set_scale(head, outputs)
    return head


def random_pixels(model: ClipModel, outputs: TargetSpec, features: Features | None = None) -> PixelHead:
    """A head of the pixels (H, W) of a map that knows their means only; its weights are random.

    Raises:
        ValueError: the values are no pixels, or the model has no embedder of maps.
    """
    embedder = getattr(getattr(model.model, "visual", None), "conv1", None)
    if outputs.mean.ndim != 2 or not isinstance(embedder, ConvolutionEmbedder) or len(embedder.patch) != 2:
        raise ValueError(
            f"outputs must be pixels (H, W) of a model with an embedder of maps, and have the shape "
            f"{tuple(outputs.mean.shape)}; choose another head or embedder"
        )
    height, width = embedder.patch
    head = PixelHead(embedder.projection.out_channels, height * width, outputs.mean.shape).to(outputs.mean.device)
    _set_scale(head, outputs)
    return head


def _set_scale(head: ValueHead | PixelHead, outputs: TargetSpec) -> None:
    """Give a head the mean and the unit of the values to predict."""
    head.mean.copy_(outputs.mean)
    head.unit.copy_(outputs.unit)


def linear_probe(
    model: ClipModel, prompts: Tensor, features: Features, inverse_strength: float, iterations: int
) -> nn.Linear:
    """Multinomial logistic regression on the features of the training images (Radford et al., 2021, Section 3.2).

    It minimises mean CE(W x + b) + ‖W / s‖² / (2 N inverse_strength) by L-BFGS over all features at once: the
    regression on s x, features of a norm like that of the unnormalised ones, with scikit-learn's ``C``.

    Args:
        model: whose logit scale s is taken.
        prompts: (C, P, L), for the number of classes.
        features: the frozen tower's, extracted once.
        inverse_strength: of the regularization, in (0, inf); larger fits more closely.
        iterations: at most.

    Raises:
        ValueError: no image has a label, or a value is out of range.
    """
    if not 0 < inverse_strength < float("inf") or iterations < 1:
        raise ValueError(f"inverse_strength must be > 0 and iterations >= 1, got {inverse_strength} and {iterations}")
    inputs, labels = (tensor.to(prompts.device) for tensor in features())
    if not len(labels):
        raise ValueError(
            "features must have labels for a linear probe, but no training image has one; use another head"
        )
    scale = model.logit_scale.detach().to(inputs.dtype)
    weight, bias = logistic_regression(scale * inputs, labels, len(prompts), inverse_strength, iterations)
    return _linear(scale * weight.to(inputs.dtype), bias.to(inputs.dtype))


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A trainable layer of these values."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is None:
            layer.bias.zero_()
        else:
            layer.bias.copy_(bias)
    return layer
