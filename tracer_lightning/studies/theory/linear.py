"""Fine-tuning of linear encoders: what TRACER's theory says of it, in closed form and by gradient descent.

W (p, d) is the trained image projection, W_0 its start, X (d, n) the images; texts give the target matrix Y (p, n).
All is float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

TOLERANCE = 1e-13
"""Of gradient descent: it stops where the gradient is so small a share of the first one."""
MOST_STEPS = 10_000
SPECTRUM = (1.6, 0.7)
"""Largest and smallest singular value of the images of a drawn problem: on both sides of 1, where L2-SP crosses
static self-distillation."""


def contrastive_target(text_weights: Tensor, texts: Tensor) -> Tensor:
    """Y = W_T X_T (n I - J), column i = sum_j (t_i - t_j), for the text features t = W_T X_T.

    Args:
        text_weights: W_T (p, c), the frozen text projection.
        texts: X_T (c, n).

    Returns:
        (p, n), whose columns sum to zero.
    """
    n = texts.shape[1]
    contrast: Tensor = n * torch.eye(n, dtype=texts.dtype) - torch.ones(n, n, dtype=texts.dtype)
    return text_weights @ texts @ contrast


@dataclass(frozen=True)
class Problem:
    """Minimise ½ ‖W X - Y‖² + R(W) from W_0."""

    images: Tensor
    """X (d, n)."""
    target: Tensor
    """Y (p, n)."""
    start: Tensor
    """W_0 (p, d)."""

    @cached_property
    def inverse(self) -> Tensor:
        """X⁺ = Xᵀ (X Xᵀ)⁺ = (XᵀX)⁺ Xᵀ (n, d); what is as small as rounding counts as zero."""
        inverse: Tensor = torch.linalg.pinv(self.images, rtol=1e-12)
        return inverse

    @cached_property
    def inside(self) -> Tensor:
        """P = X (XᵀX)⁺ Xᵀ (d, d), the projection on the task subspace."""
        return self.images @ self.inverse

    @cached_property
    def outside(self) -> Tensor:
        """I - P (d, d)."""
        identity: Tensor = torch.eye(len(self.images), dtype=self.images.dtype)
        return identity - self.inside

    @cached_property
    def solution(self) -> Tensor:
        """W* = Y Xᵀ (X Xᵀ)⁺ (p, d), the minimum-norm solution of the task."""
        return self.target @ self.inverse

    @cached_property
    def anchor_error(self) -> Tensor:
        """W_0 P - W* (p, d): how far from the task's solution the start lies inside the task subspace."""
        return self.start @ self.inside - self.solution


def draw_problem(seed: int, image_size: int = 12, samples: int = 16, rank: int = 6, features: int = 5) -> Problem:
    """A random problem whose images span a subspace of ``rank`` dimensions, with singular values :data:`SPECTRUM`."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left = torch.linalg.qr(normal(image_size, rank))[0]
    right = torch.linalg.qr(normal(samples, rank))[0]
    images = left @ torch.diag(torch.linspace(*SPECTRUM, rank, dtype=torch.float64)) @ right.T
    target = contrastive_target(normal(features, image_size), normal(image_size, samples)) / samples
    return Problem(images, target, 3.0 * normal(features, image_size))


# -- Theorem 3.2 ----------------------------------------------------------------------------------------------------


def direct(problem: Problem) -> Tensor:
    """W_0 (I - P) + W* (p, d): fine-tuning without regularisation, R = 0 (Theorem 3.2)."""
    return problem.start @ problem.outside + problem.solution


def l2_sp(problem: Problem, strength: float) -> Tensor:
    """(Y Xᵀ + lambda W_0)(X Xᵀ + lambda I)⁻¹ (p, d): R = lambda/2 ‖W - W_0‖² (Theorem 3.2)."""
    images = problem.images
    gram = images @ images.T + strength * torch.eye(len(images), dtype=images.dtype)
    weights: Tensor = torch.linalg.solve(gram, problem.target @ images.T + strength * problem.start, left=False)
    return weights


def static_distillation(problem: Problem, strength: float) -> Tensor:
    """W_0 (I - P/(1+lambda)) + W*/(1+lambda) (p, d): R = lambda/2 ‖W X - W_0 X‖² (Theorem 3.2)."""
    return distilled(problem, strength, problem.start, problem.start)


def distilled(problem: Problem, strength: float, weights: Tensor, teacher: Tensor) -> Tensor:
    """One exact minimisation of ½ ‖W X - Y‖² + lambda/2 ‖W X - teacher X‖² from ``weights`` (Proposition C.7).

    Returns:
        weights (I - P) + lambda/(1+lambda) teacher P + W*/(1+lambda), (p, d).
    """
    pulled = (strength * teacher @ problem.inside + problem.solution) / (1.0 + strength)
    return weights @ problem.outside + pulled


# -- gradient descent -----------------------------------------------------------------------------------------------

Penalty = Callable[[Tensor], Tensor]
"""W (p, d) to R(W) ()."""


def no_penalty(weights: Tensor) -> Tensor:
    """R = 0."""
    return 0.0 * weights.sum()


def distance_penalty(problem: Problem, strength: float) -> Penalty:
    """R(W) = lambda/2 ‖W - W_0‖², L2-SP's."""
    return lambda weights: 0.5 * strength * (weights - problem.start).square().sum()


def output_penalty(problem: Problem, strength: float, teacher: Tensor) -> Penalty:
    """R(W) = lambda/2 ‖W X - teacher X‖², self-distillation's; teacher (p, d)."""
    return lambda weights: 0.5 * strength * ((weights - teacher) @ problem.images).square().sum()


def objective(problem: Problem, penalty: Penalty, weights: Tensor) -> Tensor:
    """½ ‖W X - Y‖² + R(W), ()."""
    return 0.5 * (weights @ problem.images - problem.target).square().sum() + penalty(weights)


def step_size(problem: Problem, strength: float) -> float:
    """1 over the largest curvature of any of the objectives with that lambda."""
    largest = float(torch.linalg.matrix_norm(problem.images, 2)) ** 2
    return 1.0 / ((1.0 + strength) * max(largest, 1.0))


def gradient_descent(problem: Problem, penalty: Penalty, start: Tensor, rate: float) -> Tensor:
    """Plain gradient descent from ``start`` (p, d) until the gradient vanishes, by autograd.

    Raises:
        ValueError: it does not get there in :data:`MOST_STEPS`.
    """
    weights, first = start.clone().requires_grad_(), None
    for _ in range(MOST_STEPS):
        (gradient,) = torch.autograd.grad(objective(problem, penalty, weights), weights)
        size = float(gradient.norm())
        first = size if first is None else first
        if size <= TOLERANCE * first:
            return weights.detach()
        weights = (weights - rate * gradient).detach().requires_grad_()
    raise ValueError(f"no minimum within {MOST_STEPS} steps of rate {rate}; give a smaller rate")


def descent_path(problem: Problem, steps: int, rate: float) -> Tensor:
    """Students (steps + 1, p, d) of direct fine-tuning by gradient descent with a constant rate."""
    weights, path = problem.start, [problem.start]
    for _ in range(steps):
        weights = weights - rate * (weights @ problem.images - problem.target) @ problem.images.T
        path.append(weights)
    return torch.stack(path)


def line_path(problem: Problem, steps: int, kept: float) -> Tensor:
    """Students W_0 + (1 - kept^k) U (steps + 1, p, d), where W_0 + U is the end of direct fine-tuning."""
    times = torch.arange(steps + 1, dtype=problem.start.dtype)[:, None, None]
    return problem.start + (1.0 - kept**times) * (direct(problem) - problem.start)
