"""Multinomial logistic regression on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

CHUNK = 65_536
"""Number of features whose logits are computed at once."""
ROUND = 20
"""Number of iterations between updates of the progress bar."""
EVALUATIONS = 50
"""Largest number of loss evaluations of an iteration; a line search ends after half of them."""


def logistic_regression(
    features: Tensor, labels: Tensor, classes: int, inverse_strength: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Compute weight and bias that minimise mean CE(W x + b) + ‖W‖² / (2 N inverse_strength).

    The result is that of scikit-learn with ``C = inverse_strength``. L-BFGS minimises over all features at once, in
    double precision if the device has it, as it ends far from the minimum in single precision. The features are
    centred, which the bias compensates: CLIP features lie in a narrow cone, along whose axis the loss is much steeper
    than across it.

    Args:
        features: (N, D) features.
        labels: (N,) class indices.
        classes: number C of classes.
        inverse_strength: inverse strength of the regularization, > 0.
        iterations: largest number of iterations.

    Returns:
        Weight (C, D) and bias (C,).
    """
    device, dtype = features.device, torch.float if features.device.type == "mps" else torch.double
    centre = features.to(dtype).mean(dim=0)
    weight = torch.zeros(classes, len(centre), dtype=dtype, device=device, requires_grad=True)
    bias = torch.zeros(classes, dtype=dtype, device=device, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_eval=ROUND * EVALUATIONS,
        tolerance_grad=1e-9,
        tolerance_change=1e-15,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        penalty = weight.square().sum() / (2 * inverse_strength * len(labels))
        penalty.backward()  # type: ignore[no-untyped-call]
        return penalty.detach() + _backward(features, labels, centre, weight, bias)

    _minimise(optimizer, closure, iterations)
    return weight.detach(), (bias - weight @ centre).detach()


def _backward(features: Tensor, labels: Tensor, centre: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute the mean cross-entropy () chunk by chunk and add its gradient to those of weight and bias."""
    total = torch.zeros((), dtype=weight.dtype, device=weight.device)
    for x, y in zip(features.split(CHUNK), labels.split(CHUNK), strict=True):  # type: ignore[no-untyped-call]
        logits = F.linear(x.to(weight.dtype) - centre, weight, bias)
        loss = F.cross_entropy(logits, y, reduction="sum") / len(labels)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


@torch.enable_grad()
def _minimise(optimizer: torch.optim.LBFGS, closure: Callable[[], Tensor], iterations: int) -> None:
    """Run the optimizer until convergence, with a progress bar."""
    group = optimizer.param_groups[0]
    for start in tqdm(range(0, iterations, ROUND), desc="Linear probe", unit_scale=ROUND, leave=False, disable=None):
        group["max_iter"] = min(ROUND, iterations - start)
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        if optimizer.state[group["params"][0]]["n_iter"] < start + group["max_iter"]:
            break
