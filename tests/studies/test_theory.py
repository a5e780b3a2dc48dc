"""Linear fine-tuning by hand, by loops and by descent, and the claims of the theory."""

import numpy as np
import pytest
import torch

from tracer_lightning.kernels import BetaKernel, UniformKernel
from tracer_lightning.studies.theory import claims
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.claims import ASSUMPTIONS, BETAS, CLAIMS, GAPS, LONG, RARE, without_start
from tracer_lightning.studies.theory.linear import (
    Problem,
    draw_problem,
    ema,
    kernel_weights,
    self_distillation,
    snapshot_weights,
    step_shares,
    teacher_path,
    update_counting_wma,
    wma,
)


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture
def small():
    """One image direction of strength 2 in the plane: P = diag(1, 0), W* = (2, 0)."""
    return Problem(images=matrix([2.0], [0.0]), target=matrix([4.0]), start=matrix([-1.0, 1.5]))


@pytest.fixture(scope="module")
def problem():
    return draw_problem(3)


# -- by hand --------------------------------------------------------------------------------------------------------


def test_target_by_hand_and_by_a_loop():
    texts = matrix([1.0, 3.0])
    assert torch.equal(theory.contrastive_target(matrix([2.0]), texts), matrix([-4.0, 4.0]))
    generator = torch.Generator().manual_seed(0)
    weights, texts = (torch.randn(*size, generator=generator, dtype=torch.float64) for size in ((3, 4), (4, 6)))
    features = (weights @ texts).T
    loop = torch.stack([sum(features[i] - features[j] for j in range(6)) for i in range(6)]).T
    torch.testing.assert_close(theory.contrastive_target(weights, texts), loop)


def test_closed_forms_by_hand(small):
    assert torch.allclose(small.inside, matrix([1.0, 0.0], [0.0, 0.0]))
    assert torch.allclose(small.solution, matrix([2.0, 0.0]))
    assert torch.allclose(theory.direct(small), matrix([2.0, 1.5]))
    assert torch.allclose(theory.l2_sp(small, 1.0), matrix([(8.0 - 1.0) / 5.0, 1.5]))
    assert torch.allclose(theory.static_distillation(small, 1.0), matrix([0.5, 1.5]))
    assert torch.allclose(theory.distilled(small, 3.0, matrix([9.0, 7.0]), matrix([1.0, 8.0])), matrix([1.25, 7.0]))


def test_two_steps_of_self_distillation_by_hand(small):
    """lambda = 1, uniform: W_1 = (-1 + 2)/2, teacher_1 = (-1 + 0.5)/2, W_2 = (-0.25 + 2)/2."""
    run = self_distillation(small, 1.0, wma(UniformKernel()), 2)
    np.testing.assert_allclose(run.students[:, 0, 0], [-1.0, 0.5, 0.875], rtol=1e-15)
    np.testing.assert_allclose(run.teachers[:, 0, 0], [-1.0, -0.25, 0.125], rtol=1e-15)
    np.testing.assert_allclose(run.students[:, 0, 1], 1.5)


def test_weights_of_snapshots():
    np.testing.assert_allclose(snapshot_weights(ema(0.5), 3), [0.125, 0.125, 0.25, 0.5], rtol=1e-15)
    for beta in BETAS:
        kernel = BetaKernel(beta)
        expected = np.array([kernel((k + 0.5) / 41) for k in range(41)])
        np.testing.assert_allclose(snapshot_weights(wma(kernel), 40), expected / expected.sum(), rtol=1e-12)
        np.testing.assert_allclose(step_shares(kernel, 40), expected / np.cumsum(expected), rtol=1e-12)


def test_theta_0_weighs_most_with_rare_updates():
    """38% with an update every 500 of 25,000 steps, 10% with the clock that counts updates, 0.3% at every step."""
    kernel = BetaKernel()
    taken = [kernel((k + 0.5) / (LONG + 1)) for k in range(0, LONG + 1, RARE)]
    assert float(snapshot_weights(wma(kernel), LONG, RARE)[0]) == pytest.approx(taken[0] / sum(taken))
    assert taken[0] / sum(taken) == pytest.approx(0.383, abs=5e-4)
    counted = [kernel((k + 0.5) / (LONG + 1)) for k in range(len(taken))]
    assert float(snapshot_weights(update_counting_wma(kernel), LONG, RARE)[0]) == pytest.approx(
        counted[0] / sum(counted)
    )
    weights = kernel_weights(kernel, LONG)
    assert float(weights[0] / weights.sum()) == pytest.approx(0.0029, abs=5e-5)


def test_followed_teachers_are_the_running_mean(problem):
    path = theory.descent_path(problem, 6, 0.1)
    teachers = teacher_path(path, wma(UniformKernel()))
    for t in range(7):
        torch.testing.assert_close(teachers[t], path[: t + 1].mean(dim=0))


def test_bounds_by_hand(small):
    """With lambda = 2, one image direction of strength 2: gradient = 2 * 4 * gap, mu = 8 inside the images' span."""
    penalty = theory.output_penalty(small, 2.0, matrix([-1.0, 1.5]))
    assert torch.allclose(claims.gradient_at(penalty, matrix([2.0, 7.0])), matrix([24.0, 0.0]))
    for direction, mu in (([3.0, 0.0], 8.0), ([0.0, 3.0], 0.0), ([3.0, 3.0], 4.0)):
        assert claims.curvature(penalty, small.start, matrix(direction)) == pytest.approx(mu)
    divergence = claims.divergence_penalty(Problem(matrix([1.0]), matrix([0.0], [0.0]), None), matrix([0.0], [0.0]))
    assert float(divergence(matrix([0.0], [np.log(3.0)]))) == pytest.approx(0.5 * np.log(4.0 / 3.0))


def test_a_student_on_a_line_keeps_a_share_of_its_way_at_each_step(small):
    path = theory.line_path(small, 3, 0.5)
    np.testing.assert_allclose(path[:, 0, 0], [-1.0, 0.5, 1.25, 1.625], rtol=1e-15)
    np.testing.assert_allclose(path[:, 0, 1], 1.5)


def test_descent_path_is_descent(problem, monkeypatch):
    rate = theory.step_size(problem, 0.0)
    path = theory.descent_path(problem, 400, rate)
    torch.testing.assert_close(path[-1], theory.gradient_descent(problem, theory.no_penalty, problem.start, rate))
    monkeypatch.setattr(theory, "MAX_STEPS", 50)
    with pytest.raises(ValueError, match="choose a smaller rate"):
        theory.gradient_descent(problem, theory.no_penalty, problem.start, 10 * rate)


# -- claims -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [*CLAIMS, *ASSUMPTIONS, *GAPS], ids=lambda function: function.__name__)
def test_claim_holds(function, problem):
    checks = list(function(problem))
    assert checks
    assert not [check for check in checks if not check.holds]


def test_algorithm_1_is_the_kernel_without_its_first_weight():
    kernel = without_start(UniformKernel(), 4)
    np.testing.assert_allclose(snapshot_weights(wma(kernel), 4), [0, 0.25, 0.25, 0.25, 0.25])
