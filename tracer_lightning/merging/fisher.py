"""WiSE-FT weighted by Fisher information (Matena and Raffel, 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from tracer_lightning.merging.weights import Weights, blend, check_mergeable
from tracer_lightning.merging.wise_ft import check_alpha

FLOOR = 1e-8
"""Lower bound of the Fisher information, so that parameters without influence are interpolated plainly."""


def diagonal_fisher(
    classify: Callable[[Tensor], Tensor], parameters: Mapping[str, Tensor], images: Iterable[Tensor], seed: int
) -> dict[str, Tensor]:
    """Mean over images x of (d log p(y | x) / d theta)², with one label y per image drawn from the model's p(y | x).

    Gradients are computed for one image at a time, as the square of a batch's mean gradient is a different quantity.

    Args:
        classify: function from an image (1, 3, H, W) to logits (1, C).
        parameters: parameters theta of ``classify`` by name.
        images: images (3, H, W) on the model's device.
        seed: seed of the labels.

    Returns:
        A tensor of the same shape for each parameter that the logits depend on, in single precision at least.

    Raises:
        ValueError: there are no images, or a prediction is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, Tensor] = {}
    count = 0
    for image in images:
        log_p = classify(image[None])[0].log_softmax(dim=-1)
        probabilities = log_p.detach().cpu().double().exp()
        if not torch.isfinite(probabilities).all():
            raise ValueError("a prediction for a training image is not finite: the model's training has diverged")
        label = int(torch.multinomial(probabilities, 1, generator=generator))
        gradients = torch.autograd.grad(log_p[label], list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
                sums[name] = wide.square() if name not in sums else sums[name].addcmul_(wide, wide)
        count += 1
    if not count:
        raise ValueError("images must contain one image or more to compute the Fisher information")
    return {name: value / count for name, value in sums.items()}


@torch.no_grad()
def fisher_merge(
    start: Weights, tuned: Weights, fishers: tuple[Weights, Weights], alpha: float = 0.5
) -> dict[str, Tensor]:
    """(c_0 start + c_1 tuned) / (c_0 + c_1), c_0 = (1 - alpha) max(F_0, floor) and c_1 = alpha max(F_1, floor).

    It is computed in float64, and exactly ``start`` at alpha 0 and ``tuned`` at 1. Tensors without Fisher information
    (buffers, and parameters that no logit depends on) are merged as in WiSE-FT, with an information of 1 as in the
    released code.

    Args:
        start: theta_0.
        tuned: theta_1.
        fishers: Fisher information F_0 and F_1 of some of the tensors, by the same names.
        alpha: share of theta_1, in [0, 1].

    Returns:
        The merged weights in the models' common dtypes.

    Raises:
        ValueError: alpha is out of range, or the models are not of one architecture.
    """
    check_alpha(alpha)
    check_mergeable(start, tuned, ("theta_0", "theta_1"))
    merged: dict[str, Tensor] = {}
    for name, value in start.items():
        share: float | Tensor = alpha
        if any(name in fisher for fisher in fishers):
            ones = torch.ones_like(value, dtype=torch.double)
            first, second = (fisher.get(name, ones).double().clamp(min=FLOOR) for fisher in fishers)
            share = alpha * second / ((1 - alpha) * first + alpha * second)
        merged[name] = blend(value, tuned[name], share)
    return merged
