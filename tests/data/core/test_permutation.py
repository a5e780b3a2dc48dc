"""Pseudorandom permutations of large ranges."""

import numpy as np
import pytest
from scipy import stats

from tracer_lightning.data.core.permutation import permute


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 1000, 1024, 4097])
def test_every_number_occurs_once(size):
    values = permute(np.arange(size, dtype=np.uint64), size, (0, 1))
    assert sorted(values.tolist()) == list(range(size))


def test_parts_agree_with_the_full_permutation():
    size = 110_180_362  # ImageNet's images times 86
    values = permute(np.arange(10_000, dtype=np.uint64), size, (3,))
    assert len(set(values.tolist())) == 10_000
    assert values.max() < size
    for first in (0, 17, 9_990):
        assert (
            permute(np.arange(first, first + 10, dtype=np.uint64), size, (3,)).tolist() == values.tolist()[first:][:10]
        )
    assert permute(np.array([size - 1], dtype=np.uint64), size, (3,))[0] < size


@pytest.mark.slow
def test_permutations_pass_tests_of_randomness():
    """The distributions of a position over seeds, of values, and of differences of neighbours are uniform."""
    size = 30
    counts = np.zeros((size, size))
    for seed in range(3000):
        counts[np.arange(size), permute(np.arange(size, dtype=np.uint64), size, (seed,)).astype(int)] += 1
    assert stats.chisquare(counts.ravel(), ddof=2 * size - 2).pvalue > 1e-3
    size = 1_000_003
    values = permute(np.arange(200_000, dtype=np.uint64), size, (0,)).astype(np.int64)
    assert stats.kstest(values / size, "uniform").pvalue > 1e-3
    steps = (values[1:] - values[:-1]) % size
    assert stats.kstest(steps / size, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.01
