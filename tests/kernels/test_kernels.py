import math

import numpy as np
import pytest
from scipy.stats import beta

from tracer_lightning.kernels import BetaKernel, ExponentialKernel, UniformKernel

PROGRESS = np.linspace(0.001, 0.999, 31)


@pytest.mark.parametrize("shape", [0.2, 0.5, 1.0, 1.5])
def test_beta_is_the_density(shape):
    ours = [BetaKernel(shape)(float(tau)) for tau in PROGRESS]
    np.testing.assert_allclose(ours, beta.pdf(PROGRESS, shape, shape), rtol=1e-12)


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


@pytest.mark.parametrize("rate", [701.0, math.nan])
def test_exponential_refuses_rates_out_of_range(rate):
    with pytest.raises(ValueError, match="rate must lie in"):
        ExponentialKernel(rate)


@pytest.mark.parametrize("kernel", [BetaKernel(), UniformKernel(), ExponentialKernel(1.0)])
@pytest.mark.parametrize("progress", [0.0, 1.0, -0.1, math.nan])
def test_progress_is_open(kernel, progress):
    with pytest.raises(ValueError, match="progress must lie in the open interval"):
        kernel(progress)
