"""CKA and SVCCA against their definitions, written out, and their invariances."""

from itertools import combinations, permutations

import numpy as np
import pytest
import torch

from tracer_lightning.functional.representations import (
    cka,
    covariance,
    hsic,
    mean_canonical_correlation,
    moments,
    whitening,
)


def random(n=40, width=6, second_width=9, noise=1.0, seed=0):
    """Two representations that have something in common, with means."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.double)

    x = draw(n, width) + 2
    return x, x @ draw(width, second_width) + noise * draw(n, second_width) - 1


def alignment(x, y):
    return cka(hsic(moments(x, y)), hsic(moments(x, x)), hsic(moments(y, y))).item()


def svcca(x, y, share=0.99):
    own = (covariance(moments(z, z)) for z in (x, y))
    return mean_canonical_correlation(covariance(moments(x, y)), *(whitening(c, share) for c in own)).item()


def by_definition(x, y):
    """Song et al. (2012), section 2.2: the mean over all quadruples of different inputs."""
    k, second = (x @ x.T).numpy(), (y @ y.T).numpy()
    return np.mean(
        [k[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q]) for i, j, q, r in permutations(range(len(x)), 4)]
    )


def with_kernels(x, y):
    """Song et al. (2012), eq. 5, with N x N kernels."""
    n, ones = len(x), torch.ones(len(x), dtype=torch.double)
    k, second = ((z @ z.T).fill_diagonal_(0) for z in (x, y))
    total = (ones @ k @ ones) * (ones @ second @ ones) / ((n - 1) * (n - 2))
    return ((k @ second).trace() + total - 2 / (n - 2) * (ones @ k @ second @ ones)) / (n * (n - 3))


def biased(x, y):
    """HSIC_0 of Gretton et al. (2005)."""
    n = len(x)
    return ((x - x.mean(0)).T @ (y - y.mean(0))).square().sum() / (n - 1) ** 2


def test_values_by_hand():
    """Σ_{i≠j} of squares is 12, of one with the other -4; both kernels have rows of sum -1 without their diagonals."""
    x, y = torch.tensor([[1.0], [-1], [1], [-1]]).double(), torch.tensor([[1.0], [1], [-1], [-1]]).double()
    assert hsic(moments(x, x)).item() == pytest.approx((12 + 16 / 6 - 4) / 4)
    assert hsic(moments(x, y)).item() == pytest.approx((-4 + 16 / 6 - 4) / 4)
    assert alignment(x, y) == pytest.approx(-0.5)
    assert svcca(x, y) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("n", "naive"), [(8, by_definition), (60, with_kernels)])
def test_the_criterion_is_that_of_its_definition(n, naive):
    for x, y in (random(n), random(n, width=30, second_width=2, seed=1)):
        for first, second in ((x, y), (x, x), (y, y)):
            assert hsic(moments(first, second)).item() == pytest.approx(float(naive(first, second)), rel=1e-9)


def test_moments_add_up_over_batches():
    x, y = random(50)
    parts = sum(moments(first, second) for first, second in zip(x.split(17), y.split(17), strict=True))
    torch.testing.assert_close(parts, moments(x, y))


def test_only_the_unbiased_criterion_of_minibatches_has_the_mean_of_all_inputs():
    """Over all batches of five there are: exactly."""
    x, y = random(10)
    batches = [list(batch) for batch in combinations(range(10), 5)]
    for first, second in ((x, y), (x, x)):
        mean = np.mean([hsic(moments(first[batch], second[batch])) for batch in batches])
        assert mean == pytest.approx(hsic(moments(first, second)).item(), rel=1e-9)
        wrong = np.mean([biased(first[batch], second[batch]) for batch in batches])
        assert abs(wrong / biased(first, second) - 1) > 0.05


def test_a_representation_is_like_itself_and_the_order_does_not_matter():
    x, y = random()
    for measure in (alignment, svcca):
        assert measure(x, x) == pytest.approx(1)
        assert measure(x, y) == pytest.approx(measure(y, x))
        assert 0.1 < measure(x, y) < 0.99


def test_cka_does_not_see_rotation_scale_and_shift_but_other_linear_maps():
    x, y = random()
    rotation, _ = torch.linalg.qr(torch.randn(9, 9, generator=torch.Generator().manual_seed(1)).double())
    assert alignment(x, 3 * y @ rotation - 5) == pytest.approx(alignment(x, y), rel=1e-9)
    stretched = y * torch.tensor([20.0] + [1.0] * 8).double()
    assert abs(alignment(x, stretched) - alignment(x, y)) > 0.05


def test_canonical_correlations_do_not_see_any_invertible_linear_map():
    x, y = random()
    stretched = y @ torch.randn(9, 9, generator=torch.Generator().manual_seed(2)).double() + 3
    assert svcca(x, stretched, share=1 - 1e-9) == pytest.approx(svcca(x, y, share=1 - 1e-9), rel=1e-6)
    assert abs(alignment(x, stretched) - alignment(x, y)) > 0.01


def test_independent_representations_are_not_alike_even_where_there_are_fewer_inputs_than_dimensions():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, 400, generator=generator, dtype=torch.double) for _ in range(2))
    assert abs(alignment(x, y)) < 0.1
    assert biased(x, y) / (biased(x, x) * biased(y, y)).sqrt() > 0.8


def centred(x):
    return (x - x.mean(0)).numpy()


def directly(x, y, share):
    """SVD, cut, and CCA by QR (Björck and Golub, 1973)."""
    bases = []
    for z in (centred(x), centred(y)):
        u, s, _ = np.linalg.svd(z, full_matrices=False)
        explained = np.cumsum(s**2) / np.sum(s**2)
        kept = int(np.argmax(explained >= share)) + 1
        bases.append(np.linalg.qr(u[:, :kept] * s[:kept])[0])
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_svcca_is_that_of_svd_and_qr(share):
    for seed in range(3):
        x, y = random(seed=seed, noise=2.0)
        assert svcca(x, y, share) == pytest.approx(directly(x, y, share), rel=1e-9)


def test_as_many_directions_are_kept_as_explain_the_share():
    """Two representations whose components have variances 16, 3, 1 and 0."""
    own = torch.diag(torch.tensor([3.0, 16.0, 0.0, 1.0]).double())
    for share, kept in ((0.5, 1), (0.8, 1), (0.81, 2), (0.95, 2), (0.96, 3)):
        assert whitening(own, share).shape == (4, kept)
    torch.testing.assert_close(whitening(own, 0.8).abs(), torch.tensor([[0], [0.25], [0], [0]]).double())


def test_dimensions_that_others_repeat_do_not_count_twice():
    x, y = random()
    doubled = torch.cat([x, x], dim=1) / 2**0.5
    assert svcca(doubled, y) == pytest.approx(svcca(x, y), rel=1e-9)


def test_constant_representations_have_no_similarity():
    x, y = random()
    assert np.isnan(alignment(x, torch.zeros_like(y)))
    assert np.isnan(svcca(x, torch.zeros_like(y)))
