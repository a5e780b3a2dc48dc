"""Multinomial logistic regression on any device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

CHUNK = 65_536
"""Features whose logits are held at once."""
ROUND = 20
"""Iterations between two signs of progress."""
EVALUATIONS = 50
"""Evaluations of the loss that an iteration may take; a line search ends after half of them."""


def logistic_regression(
    features: Tensor, labels: Tensor, classes: int, inverse_strength: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Weight and bias that minimise mean CE(W x + b) + ‖W‖² / (2 N inverse_strength).

    It is scikit-learn's with that ``C``, by L-BFGS over all features at once, in double precision where the device has
    it: in single precision it ends far from the minimum. The features are centred for it, which the bias makes up for:
    features of CLIP lie in a narrow cone, along whose axis the loss is much steeper than across.

    Args:
        features: (N, D).
        labels: (N,) class indices.
        classes: C.
        inverse_strength: of the regularization, > 0.
        iterations: at most.

    Returns:
        (C, D) and (C,).
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
        total = weight.square().sum() / (2 * inverse_strength * len(labels))
        total.backward()  # type: ignore[no-untyped-call]
        for x, y in zip(features.split(CHUNK), labels.split(CHUNK), strict=True):  # type: ignore[no-untyped-call]
            logits = F.linear(x.to(dtype) - centre, weight, bias)
            loss = F.cross_entropy(logits, y, reduction="sum") / len(labels)
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
    return weight.detach(), (bias - weight @ centre).detach()
