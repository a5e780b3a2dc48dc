"""Linear fine-tuning by hand, by loops and by descent; every claim, and that each fails when it should."""

import numpy as np
import pytest
import torch

from tracer_lightning.analysis import theory, theory_checks, theory_conditions, theory_paths
from tracer_lightning.analysis.theory import Problem, draw_problem
from tracer_lightning.analysis.theory_checks import BETAS, CLAIMS
from tracer_lightning.analysis.theory_conditions import CONDITIONS, LONG, RARE, without_start
from tracer_lightning.analysis.theory_paths import (
    alphas,
    ema,
    follow,
    official,
    self_distillation,
    shares,
    snapshot_weights,
    wma,
)
from tracer_lightning.kernels import BetaKernel, UniformKernel
from tracer_lightning.teachers import WMATeacher


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


@pytest.fixture
def small():
    """One image direction of strength 2 in the plane: P = diag(1, 0), W* = (2, 0)."""
    return Problem(images=matrix([2.0], [0.0]), target=matrix([4.0]), start=matrix([-1.0, 1.5]))


@pytest.fixture(scope="module")
def problem():
    return draw_problem(3)


def failing(function, problem):
    return [check.claim for check in function(problem) if not check.holds]


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
        np.testing.assert_allclose(shares(kernel, 40), expected / np.cumsum(expected), rtol=1e-12)


def test_theta_0_weighs_most_with_rare_updates():
    """38% with an update every 500 of 25,000 steps, 10% with the clock that counts updates, 0.3% at every step."""
    kernel = BetaKernel()
    taken = [kernel((k + 0.5) / (LONG + 1)) for k in range(0, LONG + 1, RARE)]
    assert float(snapshot_weights(wma(kernel), LONG, RARE)[0]) == pytest.approx(taken[0] / sum(taken))
    assert taken[0] / sum(taken) == pytest.approx(0.383, abs=5e-4)
    counted = [kernel((k + 0.5) / (LONG + 1)) for k in range(len(taken))]
    assert float(snapshot_weights(official(kernel), LONG, RARE)[0]) == pytest.approx(counted[0] / sum(counted))
    weights = alphas(kernel, LONG)
    assert float(weights[0] / weights.sum()) == pytest.approx(0.0029, abs=5e-5)


def test_followed_teachers_are_the_running_mean(problem):
    path = theory.descent_path(problem, 6, 0.1)
    teachers = follow(path, wma(UniformKernel()))
    for t in range(7):
        torch.testing.assert_close(teachers[t], path[: t + 1].mean(dim=0))


def test_descent_path_is_descent(problem, monkeypatch):
    rate = theory.step_size(problem, 0.0)
    path = theory.descent_path(problem, 400, rate)
    torch.testing.assert_close(path[-1], theory.gradient_descent(problem, theory.no_penalty, problem.start, rate))
    monkeypatch.setattr(theory, "MOST_STEPS", 50)
    with pytest.raises(ValueError, match="give a smaller rate"):
        theory.gradient_descent(problem, theory.no_penalty, problem.start, 10 * rate)


# -- claims, and what breaks them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [*CLAIMS, *CONDITIONS], ids=lambda function: function.__name__)
def test_holds(function, problem):
    checks = list(function(problem))
    assert checks
    assert not [check for check in checks if not check.holds]


def test_a_wrong_target_is_noticed(problem, monkeypatch):
    monkeypatch.setattr(theory, "contrastive_target", lambda weights, texts: weights @ texts)
    assert failing(theory_checks.target, problem)


@pytest.mark.parametrize(("name", "claim"), [("l2_sp", "L2-SP"), ("static_distillation", "static SD")])
def test_a_wrong_lambda_is_noticed(problem, monkeypatch, name, claim):
    method = getattr(theory, name)
    monkeypatch.setattr(theory, name, lambda problem, strength: method(problem, strength * 1.0001))
    assert failing(theory_checks.closed_forms, problem) == [f"Theorem 3.2, {claim}"]


def test_the_minimum_norm_solution_alone_is_not_direct_fine_tuning(problem, monkeypatch):
    monkeypatch.setattr(theory, "direct", lambda problem: problem.solution)
    assert failing(theory_checks.closed_forms, problem) == ["Theorem 3.2, direct"]
    assert failing(theory_checks.limits, problem) == ["L2-SP tends to direct as lambda -> 0"]


def test_another_penalty_has_another_bias_and_moves_what_it_should_not(problem, monkeypatch):
    monkeypatch.setattr(theory, "output_penalty", lambda problem, strength, teacher: sideways(teacher, strength))
    broken = failing(theory_checks.closed_forms, problem)
    assert "outside the task subspace nothing moves" in broken
    assert "static SD's bias is lambda/(1+lambda)(W_0 P - W*)" in broken
    assert failing(theory_checks.iteration, problem)
    monkeypatch.setattr(theory, "distance_penalty", lambda problem, strength: sideways(problem.start, strength))
    assert "L2-SP's bias is lambda/(lambda+sigma²) by direction" in failing(theory_checks.closed_forms, problem)


def sideways(anchor, strength):
    """Pulls each weight towards twice the anchor."""
    return lambda weights: 0.5 * strength * (weights - 2 * anchor).square().sum()


def test_limits_fail_for_a_form_that_ignores_lambda(problem, monkeypatch):
    monkeypatch.setattr(theory, "l2_sp", lambda problem, strength: theory.static_distillation(problem, 1.0))
    assert len(failing(theory_checks.limits, problem)) == 2


def wrong_strength(problem, strength, weights, teacher):
    return theory.distilled(problem, 1.001 * strength, weights, teacher)


def test_a_wrong_step_of_distillation_is_noticed(problem, monkeypatch):
    monkeypatch.setattr(theory_paths, "distilled", wrong_strength)
    assert failing(theory_checks.iteration, problem) == ["Proposition C.7, SD-WMA step by step"]
    assert len(failing(theory_checks.contraction, problem)) == len(BETAS) + 1


def test_a_step_that_forgets_the_rest_is_noticed(problem, monkeypatch):
    monkeypatch.setattr(theory_paths, "distilled", lambda *args: theory.distilled(*args) @ problem.inside)
    assert "SD-WMA moves nothing outside the subspace" in failing(theory_checks.contraction, problem)


class Forgetful(WMATeacher):
    """Starts its sum at zero, as Algorithm 1 of the paper does."""

    def _kernel_weight(self, step, total_steps):
        return super()._kernel_weight(step, total_steps) if step else 0.0


def test_a_teacher_without_theta_0_is_noticed(problem, monkeypatch):
    monkeypatch.setattr(theory_paths, "WMATeacher", Forgetful)
    assert len(failing(theory_checks.contraction, problem)) == len(BETAS)
    assert len(failing(theory_checks.convergence, problem)) == len(BETAS)
    assert len([claim for claim in failing(theory_checks.persistence, problem) if "jump" in claim]) == len(BETAS)
    assert failing(theory_checks.equivalence, problem)


def test_an_ema_in_the_place_of_the_wma_does_not_persist(problem, monkeypatch):
    monkeypatch.setattr(theory_checks, "wma", lambda kernel: ema(0.9))
    assert len(failing(theory_checks.persistence, problem)) == 2 * len(BETAS)
    assert len(failing(theory_checks.convergence, problem)) == len(BETAS)


def test_another_momentum_and_a_wma_in_the_place_of_the_ema_are_noticed(problem, monkeypatch):
    monkeypatch.setattr(theory_checks, "ema", lambda momentum: ema(0.91))
    assert len(failing(theory_checks.collapse, problem)) == 2
    assert failing(theory_checks.equivalence, problem)
    monkeypatch.setattr(theory_checks, "ema", lambda momentum: wma(BetaKernel()))
    assert len(failing(theory_checks.collapse, problem)) == 3


def test_conditions_fail_where_the_theorem_would_hold_after_all(problem, monkeypatch):
    monkeypatch.setattr(theory_conditions, "without_start", lambda kernel, steps: kernel)
    assert failing(theory_conditions.algorithm_1, problem)
    monkeypatch.setattr(theory_conditions, "ExponentialKernel", lambda rate: UniformKernel())
    assert failing(theory_conditions.summable, problem)
    monkeypatch.setattr(theory_conditions, "wma", lambda kernel: ema(1.0))
    assert failing(theory_conditions.overshoot, problem)


def test_conditions_fail_for_another_optimizer_or_interval(problem, monkeypatch):
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, lr, weight_decay: torch.optim.SGD(parameters, lr))
    assert len(failing(theory_conditions.adaptive, problem)) == 2
    monkeypatch.setattr(theory_conditions, "RARE", 1)
    monkeypatch.setattr(theory_conditions, "LONG", 50)
    assert failing(theory_conditions.rare_updates, problem)


def test_bias_and_drift_fail_for_other_teachers(problem, monkeypatch):
    monkeypatch.setattr(theory_conditions, "ema", lambda momentum: ema(0.8))
    assert failing(theory_conditions.drifting, problem)
    monkeypatch.setattr(
        theory_conditions, "self_distillation", lambda p, s, make, t: self_distillation(p, s, ema(0.9), t)
    )
    assert len(failing(theory_conditions.no_bias, problem)) == len(BETAS)


def test_algorithm_1_is_the_kernel_without_its_first_weight():
    kernel = without_start(UniformKernel(), 4)
    np.testing.assert_allclose(snapshot_weights(wma(kernel), 4), [0, 0.25, 0.25, 0.25, 0.25])
