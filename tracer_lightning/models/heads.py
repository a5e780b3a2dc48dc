"""Linear classification heads: logits = W x + b of normalised image features x.

Each function makes one for a model, from the class prompts or from the training pictures.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from tracer_lightning.functional.zero_shot import prompt_features, zero_shot_head
from tracer_lightning.models.clip import ClipModel

Features = Callable[[], tuple[Tensor, Tensor]]
"""Extracts normalised image features (N, D) and labels (N,) of the training pictures."""
CHUNK = 65_536
"""Features whose logits are held at once."""
ROUND = 20
"""Iterations between two signs of progress."""
EVALUATIONS = 50
"""Evaluations of the loss that an iteration may take; a line search ends after half of them."""


def no_head(model: ClipModel, prompts: Tensor, features: Features | None = None) -> None:
    """Classify with the text tower: a zero-shot head from the current weights."""


def kept_head(model: ClipModel, prompts: Tensor, features: Features | None = None) -> nn.Linear:
    """The head that came with the weights.

    Raises:
        ValueError: there is none, or it is of other classes.
    """
    if model.head is None:
        raise ValueError("head=kept: the weights started from have no head; choose zero_shot, random or probe")
    if model.head.out_features != len(prompts):
        raise ValueError(
            f"head=kept: the head has {model.head.out_features} classes and the data have {len(prompts)}; choose "
            "zero_shot, random or probe"
        )
    return model.head.requires_grad_(True)  # parameter-efficient methods froze all that there was


def zero_shot_linear(model: ClipModel, prompts: Tensor, features: Features | None = None) -> nn.Linear:
    """The zero-shot head as a linear layer: W = s times the class vectors, b = 0 (WiSE-FT; Wortsman et al., 2022).

    Args:
        model: whose text tower and logit scale s are taken.
        prompts: (C, P, L) tokens of every template for every class.
        features: not asked for.
    """
    classes = zero_shot_head(model.encode_text, prompts)  # (C, D)
    return _linear(model.logit_scale.detach() * classes)


def random_linear(model: ClipModel, prompts: Tensor, features: Features | None = None) -> nn.Linear:
    """A head that knows nothing, initialised as torch does."""
    width = prompt_features(model.encode_text, prompts[:1, :1]).shape[-1]
    return nn.Linear(width, len(prompts)).to(prompts.device)


def linear_probe(
    model: ClipModel, prompts: Tensor, features: Features, inverse_strength: float, iterations: int
) -> nn.Linear:
    """Multinomial logistic regression on the features of the training pictures (Radford et al., 2021, Section 3.2).

    It minimises mean CE(W x + b) + ‖W / s‖² / (2 N inverse_strength) by L-BFGS over all features at once: the
    regression on s x, features of a norm like that of the unnormalised ones, with scikit-learn's ``C``.

    Args:
        model: whose logit scale s is taken.
        prompts: (C, P, L), for the number of classes.
        features: the frozen tower's, extracted once.
        inverse_strength: of the regularization, in (0, inf); larger fits more closely.
        iterations: at most.

    Raises:
        ValueError: no picture has a label, or a value is out of range.
    """
    if not 0 < inverse_strength < float("inf") or iterations < 1:
        raise ValueError(
            f"head: inverse_strength must be > 0 and iterations >= 1, found {inverse_strength} and {iterations}"
        )
    inputs, labels = (tensor.to(prompts.device) for tensor in features())
    if not len(labels):
        raise ValueError("head=probe: no training picture has a label; choose zero_shot")
    scale = float(model.logit_scale.detach())
    weight, bias = _logistic_regression(scale * inputs, labels, len(prompts), inverse_strength, iterations)
    return _linear(scale * weight, bias)


def _logistic_regression(
    inputs: Tensor, labels: Tensor, classes: int, inverse_strength: float, iterations: int
) -> tuple[Tensor, Tensor]:
    device = inputs.device
    dtype = torch.float if device.type == "mps" else torch.double  # single precision ends a percent from the optimum
    weight = torch.zeros(classes, inputs.shape[1], dtype=dtype, device=device, requires_grad=True)
    bias = torch.zeros(classes, dtype=dtype, device=device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_eval=ROUND * EVALUATIONS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = weight.square().sum() / (2 * inverse_strength * len(labels))
        total.backward()  # type: ignore[no-untyped-call]
        for x, y in zip(inputs.split(CHUNK), labels.split(CHUNK), strict=True):  # type: ignore[no-untyped-call]
            loss = F.cross_entropy(F.linear(x.to(dtype), weight, bias), y, reduction="sum") / len(labels)
            loss.backward()  # type: ignore[no-untyped-call]
            total = total.detach() + loss.detach()
        return total

    with torch.enable_grad():
        for done in tqdm(range(0, iterations, ROUND), desc="Linear probe", unit_scale=ROUND, leave=False, disable=None):
            wanted = min(ROUND, iterations - done)
            optimizer.param_groups[0]["max_iter"] = wanted
            optimizer.step(closure)  # type: ignore[no-untyped-call]
            if optimizer.state[weight]["n_iter"] < done + wanted:  # converged
                break
    return weight.detach().to(inputs.dtype), bias.detach().to(inputs.dtype)


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
