"""Kernels: weights of the moments of the trajectory in the teacher, of which only ratios matter."""

from tracer_lightning.kernels.base import Kernel, weight_at
from tracer_lightning.kernels.beta import BetaKernel
from tracer_lightning.kernels.exponential import ExponentialKernel
from tracer_lightning.kernels.polynomial import PolynomialKernel
from tracer_lightning.kernels.uniform import UniformKernel

__all__ = ["BetaKernel", "ExponentialKernel", "Kernel", "PolynomialKernel", "UniformKernel", "weight_at"]
