"""Wasserstein distances and their gradients."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from torch.utils._python_dispatch import TorchDispatchMode

from tracer_lightning.functional.transport import (
    gaussian_label_costs,
    sinkhorn_divergence,
    sliced_wasserstein,
    wasserstein,
    wasserstein_1,
)


def points(count, seed=0, width=8):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_it_is_that_of_the_best_assignment_and_so_is_the_gradient():
    first, second = points(12).requires_grad_(), points(12, seed=1)
    distance = wasserstein(first, second)
    distance.backward()
    costs = torch.cdist(first.detach(), second).square()
    rows, columns = linear_sum_assignment(costs)
    assert distance.item() == pytest.approx(costs[rows, columns].mean().item(), rel=1e-6)
    torch.testing.assert_close(first.grad, 2 * (first.detach() - second[columns]) / 12)


def test_of_translates_it_is_the_squared_length():
    sample, shift = points(9), torch.arange(8.0, dtype=torch.double) / 10
    assert wasserstein(sample, sample[torch.randperm(9)] + shift).item() == pytest.approx(shift.square().sum().item())
    assert wasserstein(sample, sample).item() == pytest.approx(0, abs=1e-9)


def test_the_first_order_distance_is_that_of_scipy_on_a_line():
    first, second = points(30, width=1), points(17, seed=1, width=1) + 0.5
    expected = wasserstein_distance(first[:, 0], second[:, 0])
    assert wasserstein_1(first, second).item() == pytest.approx(expected, rel=1e-9)


def test_samples_may_differ_in_size():
    """One point is far from each of two by the mean of its squared distances."""
    first, second = torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    assert wasserstein(first, second).item() == pytest.approx(13)


def test_of_a_single_class_label_costs_are_one_constant():
    first, second, same = points(10), points(14, seed=1), torch.zeros(14, dtype=torch.long)
    costs = gaussian_label_costs(first, same[:10], second, same)
    assert costs.unique().numel() == 1
    assert wasserstein(first, second, costs).item() == pytest.approx(
        wasserstein(first, second).item() + costs[0, 0].item()
    )


def test_label_costs_are_distances_of_gaussians():
    """Classes of +-1 around 0, and of +-2 around 5."""
    first, second = torch.tensor([[-1.0], [1.0]]), torch.tensor([[3.0], [7.0], [3.0], [7.0]])
    costs = gaussian_label_costs(first, torch.tensor([4, 4]), second, torch.tensor([2, 2, 2, 2]))
    torch.testing.assert_close(costs, torch.full((2, 4), 26.0))  # 5² + (2 - 1)²


@pytest.mark.parametrize("distance", [wasserstein, sinkhorn_divergence, sliced_wasserstein])
def test_every_distance_is_that_of_a_translation(distance):
    torch.manual_seed(0)
    sample = points(12, width=3)
    shift = torch.tensor([3.0, -4.0, 0.0], dtype=torch.double)
    tolerance = 0.2 if distance is sliced_wasserstein else 1e-4
    assert distance(sample, sample + shift).item() == pytest.approx(25, rel=tolerance)
    moving = sample.clone().requires_grad_()
    same = distance(moving, sample)
    same.backward()
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert moving.grad.abs().max() < 1e-4


class LargestTensor(TorchDispatchMode):
    """Keeps the number of elements of the largest tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def test_costs_take_no_memory_for_the_difference_of_each_pair():
    first, second = points(20, width=100).requires_grad_(), points(50, seed=1, width=100)
    with LargestTensor() as largest:
        wasserstein(first, second).backward()
    assert largest.elements <= 50 * 100  # those of the points themselves
    assert wasserstein(second, second.flip(0)).item() == 0


@pytest.mark.parametrize("distance", [sinkhorn_divergence, sliced_wasserstein])
def test_approximations_are_near_the_exact_distance(distance):
    torch.manual_seed(0)
    first, second = points(40, width=3), 2 + points(25, seed=1, width=3)
    exact = wasserstein(first, second).item()
    assert distance(first, second).item() == pytest.approx(exact, rel=0.25)
    first.requires_grad_()
    distance(first, second).backward()
    assert (first.grad.mean(dim=0) < 0).all()  # towards the other sample
