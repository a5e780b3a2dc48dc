"""The claims of the theory fail for wrong constants, formulas and teachers, and where their hypotheses do."""

import pytest
import torch

from tracer_lightning.kernels import BetaKernel, UniformKernel
from tracer_lightning.studies.theory import claims
from tracer_lightning.studies.theory import linear as theory
from tracer_lightning.studies.theory.claims import BETAS
from tracer_lightning.studies.theory.linear import (
    Distillation,
    Problem,
    draw_problem,
    ema,
    self_distillation,
    step_shares,
    wma,
)
from tracer_lightning.teachers import WMATeacher

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def problem():
    return draw_problem(3)


def failing(function, problem):
    return [check.claim for check in function(problem) if not check.holds]


def test_a_wrong_target_fails(problem, monkeypatch):
    monkeypatch.setattr(theory, "contrastive_target", lambda weights, texts: weights @ texts)
    assert failing(claims.target, problem)


@pytest.mark.parametrize(("name", "claim"), [("l2_sp", "L2-SP"), ("static_distillation", "static SD")])
def test_a_wrong_lambda_fails(problem, monkeypatch, name, claim):
    method = getattr(theory, name)
    monkeypatch.setattr(theory, name, lambda problem, strength: method(problem, strength * 1.0001))
    assert failing(claims.closed_forms, problem) == [f"Theorem 3.2, {claim}"]


def test_the_minimum_norm_solution_alone_is_not_direct_fine_tuning(problem, monkeypatch):
    monkeypatch.setattr(theory, "direct", lambda problem: problem.solution)
    assert failing(claims.closed_forms, problem) == ["Theorem 3.2, direct"]
    assert failing(claims.limits, problem) == ["L2-SP tends to direct as lambda -> 0"]


def test_another_penalty_has_another_bias_and_moves_weights_outside_the_subspace(problem, monkeypatch):
    monkeypatch.setattr(theory, "output_penalty", lambda problem, strength, teacher: sideways(teacher, strength))
    broken = failing(claims.closed_forms, problem)
    assert "outside the task subspace nothing moves" in broken
    assert "static SD's bias is lambda/(1+lambda)(W_0 P - W*)" in broken
    assert failing(claims.iteration, problem)
    monkeypatch.setattr(theory, "distance_penalty", lambda problem, strength: sideways(problem.start, strength))
    assert "L2-SP's bias is lambda/(lambda+sigma²) by direction" in failing(claims.closed_forms, problem)


def sideways(anchor, strength):
    """Pulls each weight towards twice the anchor."""
    return lambda weights: 0.5 * strength * (weights - 2 * anchor).square().sum()


def test_limits_fail_for_a_form_that_ignores_lambda(problem, monkeypatch):
    monkeypatch.setattr(theory, "l2_sp", lambda problem, strength: theory.static_distillation(problem, 1.0))
    assert len(failing(claims.limits, problem)) == 2


def wrong_strength(problem, strength, make_teacher, steps):
    return self_distillation(problem, 1.001 * strength, make_teacher, steps)


def test_a_wrong_step_of_distillation_fails(problem, monkeypatch):
    monkeypatch.setattr(claims, "self_distillation", wrong_strength)
    assert failing(claims.iteration, problem) == ["Proposition C.7, SD-WMA step by step"]
    assert len(failing(claims.contraction, problem)) == len(BETAS) + 1


def test_a_step_that_drops_the_outside_component_fails(problem, monkeypatch):
    def inside_only(problem, strength, make_teacher, steps):
        run = self_distillation(problem, strength, make_teacher, steps)
        return run._replace(students=run.students @ problem.inside)

    monkeypatch.setattr(claims, "self_distillation", inside_only)
    assert "SD-WMA moves nothing outside the subspace" in failing(claims.contraction, problem)


class Forgetful(WMATeacher):
    """Starts its sum at zero, as Algorithm 1 of the paper does."""

    def _kernel_weight(self, step, total_steps):
        return super()._kernel_weight(step, total_steps) if step else 0.0


def test_a_teacher_without_theta_0_fails_the_claims(problem, monkeypatch):
    monkeypatch.setattr(theory, "WMATeacher", Forgetful)
    assert len(failing(claims.contraction, problem)) == len(BETAS)
    assert len(failing(claims.convergence, problem)) == len(BETAS)
    assert len([claim for claim in failing(claims.persistence, problem) if "jump" in claim]) == len(BETAS)
    assert failing(claims.equivalence, problem)


def test_an_ema_in_the_place_of_the_wma_does_not_persist(problem, monkeypatch):
    monkeypatch.setattr(claims, "wma", lambda kernel: ema(0.9))
    assert len(failing(claims.persistence, problem)) == 2 * len(BETAS)
    assert len(failing(claims.convergence, problem)) == len(BETAS)


def test_another_momentum_or_a_wma_in_place_of_the_ema_fails(problem, monkeypatch):
    monkeypatch.setattr(claims, "ema", lambda momentum: ema(0.91))
    assert len(failing(claims.collapse, problem)) == 2
    assert failing(claims.equivalence, problem)
    monkeypatch.setattr(claims, "ema", lambda momentum: wma(BetaKernel()))
    assert len(failing(claims.collapse, problem)) == 3


def test_conditions_fail_where_the_theorem_would_hold_after_all(problem, monkeypatch):
    monkeypatch.setattr(claims, "without_start", lambda kernel, steps: kernel)
    assert failing(claims.algorithm_1, problem)
    monkeypatch.setattr(claims, "ExponentialKernel", lambda rate: UniformKernel())
    assert failing(claims.summable_weights, problem)
    monkeypatch.setattr(claims, "wma", lambda kernel: ema(1.0))
    assert failing(claims.overshoot, problem)


def test_conditions_fail_for_another_optimizer_or_interval(problem, monkeypatch):
    monkeypatch.setattr(torch.optim, "AdamW", lambda parameters, lr, weight_decay: torch.optim.SGD(parameters, lr))
    assert len(failing(claims.adaptive_optimizer, problem)) == 2
    monkeypatch.setattr(claims, "RARE", 1)
    monkeypatch.setattr(claims, "LONG", 50)
    assert failing(claims.rare_updates, problem)


def test_bias_and_drift_fail_for_other_teachers(problem, monkeypatch):
    monkeypatch.setattr(claims, "ema", lambda momentum: ema(0.8))
    assert failing(claims.drifting_student, problem)
    monkeypatch.setattr(claims, "self_distillation", lambda p, s, make, t: self_distillation(p, s, ema(0.9), t))
    assert len(failing(claims.remaining_bias, problem)) == len(BETAS)


def scaled(factor, function):
    return lambda *arguments: factor * function(*arguments)


@pytest.mark.parametrize("name", ["first_share", "curvature"])
def test_a_gradient_bound_with_a_larger_constant_fails(problem, monkeypatch, name):
    monkeypatch.setattr(claims, name, scaled(1.0001, getattr(claims, name)))
    met = [claim for claim in failing(claims.persistent_gradient, problem) if "met" in claim]
    assert len(met) == len(BETAS)
    monkeypatch.setattr(claims, name, scaled(30.0, getattr(claims, name)))
    assert len(failing(claims.persistent_gradient, problem)) == 2 * len(BETAS)
    assert len(failing(claims.persistent_divergence, problem)) == len(BETAS)


def test_an_ema_has_no_persistent_gradient(problem, monkeypatch):
    monkeypatch.setattr(claims, "wma", lambda kernel: ema(0.9))
    assert len(failing(claims.persistent_gradient, problem)) == 2 * len(BETAS)
    assert len(failing(claims.persistent_divergence, problem)) == len(BETAS)
    monkeypatch.undo()
    monkeypatch.setattr(claims, "ema", lambda momentum: wma(BetaKernel()))
    assert failing(claims.persistent_gradient, problem) == ["EMA's gradient vanishes"]


def test_a_student_that_comes_back_has_no_persistent_gradient(problem, monkeypatch):
    """W_0 + 2U, then W_0 + U: the hypothesis of a monotone path is violated, and the teacher passes the student."""
    monkeypatch.setattr(theory, "line_path", lambda problem, steps, kept: overshooting(problem, steps))
    assert "C.6's gradient bound, Beta 1" in failing(claims.persistent_gradient, problem)
    assert "C.6's gradient bound for a KL, Beta 1" in failing(claims.persistent_divergence, problem)


def overshooting(problem, steps):
    """A path whose mean is its end."""
    direction = theory.direct(problem) - problem.start
    path = problem.start + direction.expand(steps + 1, -1, -1).clone()
    path[0], path[1] = problem.start, problem.start + 2 * direction
    return path


def test_a_loss_that_is_far_from_quadratic_has_no_bound(problem, monkeypatch):
    """Where r_T outgrows the signal the bound says nothing: logits 100 times as large."""
    divergence = claims.divergence_penalty
    monkeypatch.setattr(
        claims,
        "divergence_penalty",
        lambda problem, teacher: divergence(Problem(100 * problem.images, problem.target, problem.start), teacher),
    )
    assert len(failing(claims.persistent_divergence, problem)) == len(BETAS)


def test_a_rate_bounded_by_another_step_than_the_smallest_fails(problem, monkeypatch):
    """Corollary C.9 with the largest omega_t in the place of omega_min, and with lambda left out."""
    monkeypatch.setattr(claims, "step_shares", lambda kernel, steps: step_shares(kernel, steps)[1].expand(steps + 1))
    assert len(failing(claims.linear_rate, problem)) == len(BETAS) + 1
    monkeypatch.undo()
    monkeypatch.setattr(claims, "self_distillation", wrong_strength)
    assert failing(claims.linear_rate, problem) == ["C.9 is met by a constant omega_t (EMA 0.9)"]


def test_a_step_weight_without_bound_has_no_rate(problem, monkeypatch):
    """A teacher that stops moving, whose smallest omega_t is 0, against the bound of one that does not."""
    monkeypatch.setattr(claims, "self_distillation", lambda p, s, make, t: self_distillation(p, s, ema(1.0), t))
    assert len(failing(claims.linear_rate, problem)) == len(BETAS) + 2


def test_a_teacher_that_is_farther_than_the_start_loses_to_static_distillation(problem, monkeypatch):
    def from_farther(problem, strength, make, steps):
        run = self_distillation(problem, strength, make, steps)
        away = 1.5 * problem.anchor_error
        students = torch.stack([theory.distilled(problem, strength, problem.start, t + away) for t in run.teachers])
        return Distillation(torch.cat([run.students[:1], students[:-1]]), run.teachers)

    monkeypatch.setattr(claims, "self_distillation", from_farther)
    assert len(failing(claims.dominance, problem)) == len(BETAS) + 1
    monkeypatch.setattr(claims, "self_distillation", lambda p, s, make, t: self_distillation(p, s, ema(1.0), t))
    assert len(failing(claims.dominance, problem)) == len(BETAS)


def test_a_wrong_strength_breaks_the_share_of_static_distillation(problem, monkeypatch):
    monkeypatch.setattr(claims, "self_distillation", wrong_strength)
    assert failing(claims.dominance, problem) == ["C.10, the share is ‖E_t-1‖²/‖E_0‖²"]


def test_assumptions_of_the_bounds_fail_where_they_are_not_needed(problem, monkeypatch):
    monkeypatch.setattr(Problem, "outside", property(lambda problem: problem.inside))
    assert failing(claims.flat_direction, problem)
    monkeypatch.undo()
    monkeypatch.setattr(theory, "distilled", lambda problem, strength, weights, teacher: problem.solution)
    assert failing(claims.distant_teacher, problem)


def test_gaps_of_the_bounds_close_for_a_constant_step_and_the_whole_error(problem, monkeypatch):
    monkeypatch.setattr(claims, "step_shares", lambda kernel, steps: torch.full((steps + 1,), 0.1))
    assert len(failing(claims.horizon_dependent_rate, problem)) == len(BETAS)
    at_zero = Problem(problem.images, torch.zeros_like(problem.target), problem.start)  # W* = 0: nothing is left out
    assert failing(claims.proof_of_dominance, at_zero)
