import math

import numpy as np
import pytest
from scipy.stats import beta

from tracer_lightning.kernels import BetaKernel, ExponentialKernel, PolynomialKernel, UniformKernel, weight_at

PROGRESS = np.linspace(0.001, 0.999, 31)


@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0, 1.5])
def test_beta_is_the_density(shape):
    ours = [BetaKernel(shape)(float(tau)) for tau in PROGRESS]
    np.testing.assert_allclose(ours, beta.pdf(PROGRESS, shape, shape), rtol=1e-12)


@pytest.mark.parametrize(("alpha", "shape"), [(0.5, 1.0), (1.0, 0.5), (0.3, 2.0), (3.0, 0.7)])
def test_asymmetric_beta_is_the_density_and_mirrors(alpha, shape):
    kernel, mirrored = BetaKernel(shape, alpha), BetaKernel(alpha, shape)
    ours = [kernel(float(tau)) for tau in PROGRESS]
    np.testing.assert_allclose(ours, beta.pdf(PROGRESS, alpha, shape), rtol=1e-12)
    np.testing.assert_allclose(ours, [mirrored(float(1 - tau)) for tau in PROGRESS], rtol=1e-12)


def test_beta_is_symmetric_by_default():
    """To the last bit what it was before there was an alpha, so that runs repeat."""
    for tau in map(float, PROGRESS):
        before = math.exp(-0.3 * (math.log(tau) + math.log1p(-tau)) - (2 * math.lgamma(0.7) - math.lgamma(1.4)))
        assert BetaKernel(0.7)(tau) == BetaKernel(0.7, 0.7)(tau) == pytest.approx(before, rel=4e-16)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_polynomials_are_asymmetric_betas(power):
    polynomial, rising, falling = PolynomialKernel(power), BetaKernel(1, power + 1), BetaKernel(power + 1, 1)
    for tau in map(float, PROGRESS):
        assert polynomial(tau) == tau**power
        assert rising(tau) == pytest.approx((power + 1) * tau**power, rel=1e-12)
        assert falling(tau) == pytest.approx((power + 1) * (1 - tau) ** power, rel=1e-12)


@pytest.mark.parametrize("power", [0, 1, 3, 8])
def test_polynomial_shares_are_those_of_polynomial_decay_averaging(power):
    """(p + 1) / (t + p) of Shamir & Zhang, but for theta_0."""
    weights = np.cumsum([weight_at(PolynomialKernel(power), step, 1000) for step in range(1001)])
    for step in (30, 300, 1000):
        share = 1 - weights[step - 1] / weights[step]
        assert abs(share - (power + 1) / (step + power)) < (power + 1) ** 2 / step**2


def test_beta_of_one_is_uniform():
    for tau in PROGRESS:
        assert BetaKernel(1.0)(float(tau)) == pytest.approx(UniformKernel()(float(tau)), rel=1e-14)


def test_exponential_by_hand():
    assert ExponentialKernel(2.0)(0.75) == math.exp(-0.5)
    assert ExponentialKernel(700.0)(1e-6) > 0


@pytest.mark.parametrize("shape", [0.0, -1.0, math.nan, math.inf])
def test_beta_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match="beta must be a finite number > 0"):
        BetaKernel(shape)
    with pytest.raises(ValueError, match="alpha must be a finite number > 0"):
        BetaKernel(1.0, shape)


@pytest.mark.parametrize("rate", [701.0, math.nan])
def test_exponential_refuses_rates_out_of_range(rate):
    with pytest.raises(ValueError, match="rate must lie in"):
        ExponentialKernel(rate)


@pytest.mark.parametrize("power", [-0.5, math.nan, math.inf])
def test_polynomial_refuses_other_powers(power):
    with pytest.raises(ValueError, match="power must be a finite number >= 0"):
        PolynomialKernel(power)


def test_weights_at_steps_by_hand():
    assert weight_at(PolynomialKernel(1), 0, 4) == 0.1
    assert weight_at(PolynomialKernel(1), 4, 4) == 0.9
    assert weight_at(lambda progress: np.float64(2), 0, 1) == 2.0


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, None, "much", [1.0]])
def test_invalid_weights_raise_errors(value):
    with pytest.raises(
        ValueError, match=r"kernel must give finite weights >= 0, found .* at progress 0.75, step 1 of 1"
    ):
        weight_at(lambda progress: value, 1, 1)


@pytest.mark.parametrize("kernel", [BetaKernel(), UniformKernel(), ExponentialKernel(1.0), PolynomialKernel(2)])
@pytest.mark.parametrize("progress", [0.0, 1.0, -0.1, math.nan])
def test_progress_is_open(kernel, progress):
    with pytest.raises(ValueError, match="progress must lie in the open interval"):
        kernel(progress)
