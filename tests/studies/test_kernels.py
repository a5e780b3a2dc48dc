import pytest
import torch

from tracer_lightning.kernels import BetaKernel, ExponentialKernel, PolynomialKernel, UniformKernel
from tracer_lightning.studies.kernels import MAX_WEIGHT, MIN_WEIGHT, memory, weights_figure
from tracer_lightning.studies.theory.linear import snapshot_weights, wma

KERNELS = [BetaKernel(0.5), BetaKernel(1.0, alpha=0.5), UniformKernel(), ExponentialKernel(10.0), PolynomialKernel(3.0)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_weights_are_those_of_a_real_teacher(kernel):
    torch.testing.assert_close(memory(kernel, 50).weights, snapshot_weights(wma(kernel), 50), rtol=1e-12, atol=1e-15)


def test_numbers_by_hand():
    uniform = memory(UniformKernel(), 9)
    assert (uniform.start, uniform.centre, uniform.effective) == pytest.approx((0.1, 0.5, 1.0))
    assert uniform.share(0, 0.25) == pytest.approx(0.3)  # steps 0, 1, 2 of 9
    assert uniform.share(0.9, 1.0) == pytest.approx(0.1)
    late = memory(lambda progress: float(progress > 0.5), 3)  # the last two of four
    assert (late.start, late.centre, late.effective) == pytest.approx((0, 5 / 6, 0.5))


def test_linear_weights_have_their_centre_at_two_thirds():
    assert memory(PolynomialKernel(1.0), 10_000).centre == pytest.approx(2 / 3, abs=1e-3)
    assert memory(BetaKernel(1.0, alpha=2.0), 10_000).centre == pytest.approx(2 / 3, abs=1e-3)


def test_a_kernel_of_zeros_has_no_memory():
    with pytest.raises(ValueError, match="kernel gives 0 at each of 5 steps"):
        memory(lambda progress: 0.0, 5)


def test_each_kernel_has_its_panels():
    memories = {str(number): memory(kernel, 300) for number, kernel in enumerate(KERNELS)}
    figure = weights_figure(memories, memories["0"])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == list(memories)
    assert len(figure.axes) == 2 * len(KERNELS)
    above = next(axes for axes in figure.axes if axes.get_title() == "2")
    _, line = above.lines
    assert torch.tensor(line.get_ydata()).allclose(torch.ones(1, dtype=torch.float64))
    assert above.get_ylim() == (MIN_WEIGHT, MAX_WEIGHT)
    assert all(axes.lines for axes in figure.axes)
    ends = [axes.lines[1].get_ydata()[-1] for axes in figure.axes if axes.get_ylim() == (0, 100)]
    assert ends == pytest.approx([100.0] * len(KERNELS))
