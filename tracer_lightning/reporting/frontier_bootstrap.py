"""Bootstrap intervals of trade-offs, over seeds and test samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tracer_lightning.reporting.frontier import ID, Array, FrontierPoint, Frontiers, hypervolume

REPLICATES = 1000
"""Number of bootstrap replicates."""
SEED = 0
"""Seed of the replicates, so that a table is the same whenever it is made."""
COVERAGE = 0.95
"""Nominal coverage of intervals."""


class Estimate(NamedTuple):
    """A value with its bootstrap interval."""

    value: float
    low: float
    high: float


def resample_sets(probabilities: Array, sizes: npt.NDArray[np.int64], generator: np.random.Generator) -> Array:
    """Resample the samples of test sets, the same ones for all models.

    On a set of n samples drawn with replacement, a model of accuracy p is right about Binomial(n, p) of them, since the
    correctness of the drawn samples is independent and identically distributed. How often two models are right about
    the same samples is not known from their accuracies. As fine-tuned versions of one model agree on most samples, the
    better of two models is taken to be right about every sample that the other one is right about: with
    p₁ ≤ p₂ ≤ ..., c₁ ~ Binomial(n, p₁) and cⱼ = cⱼ₋₁ + Binomial(n - cⱼ₋₁, (pⱼ - pⱼ₋₁) / (1 - pⱼ₋₁)), so that each cⱼ
    is Binomial(n, pⱼ). Independent draws would make the best of several equal models look better than any of them.

    Args:
        probabilities: (replicates, sets, models) accuracies in [0, 1].
        sizes: (sets,) numbers of samples, each at least 1.
        generator: source of random numbers.

    Returns:
        (replicates, sets, models) accuracies on the resampled sets.
    """
    order = np.argsort(probabilities, axis=-1)
    ascending = np.take_along_axis(probabilities, order, axis=-1)
    counts = np.zeros(probabilities.shape, dtype=np.int64)
    right = np.zeros(probabilities.shape[:-1], dtype=np.int64)
    below = np.zeros(probabilities.shape[:-1])
    for rank in range(probabilities.shape[-1]):
        rest = np.where(below < 1.0, 1.0 - below, 1.0)
        right = right + generator.binomial(sizes - right, np.clip((ascending[..., rank] - below) / rest, 0.0, 1.0))
        counts[..., rank], below = right, ascending[..., rank]
    resampled = np.empty(probabilities.shape)
    np.put_along_axis(resampled, order, counts / sizes[:, None], axis=-1)
    return resampled


def draw_seeds(accuracies: Array, uniforms: Array) -> Array:
    """Mean accuracy over as many seeds as there are, drawn with replacement.

    Args:
        accuracies: (seeds, sets) accuracies in ascending order of seeds.
        uniforms: (replicates, seeds or more) numbers in [0, 1): number u draws seed ⌊k u⌋ of k. Settings with the same
            seeds thus draw the same ones.

    Returns:
        (replicates, sets) means.
    """
    count = len(accuracies)
    drawn = (uniforms[:, :count] * count).astype(np.int64)
    means: Array = accuracies[drawn].mean(axis=1)
    return means


class Bootstrap:
    """Replicates of all settings, over seeds and test samples, the same draws for all settings.

    In each replicate the k seeds of a setting are drawn k times with replacement (:func:`draw_seeds`), and the test
    samples are resampled with the mean accuracy of the drawn seeds as p (:func:`resample_sets`). That is exact for one
    seed or where seeds are right about the same samples; else intervals are rather too wide. With one seed they cover
    the test samples only. Each set is resampled by itself, so that intervals of means over sets of the same images,
    such as corruptions, are too narrow.

    Args:
        frontiers: series of settings.
        replicates: number of replicates.
    """

    def __init__(self, frontiers: Frontiers, replicates: int = REPLICATES) -> None:
        generator = np.random.default_rng(SEED)
        points = [point for series in frontiers.series for point in series.points]
        uniforms = generator.random((replicates, max(len(point.seeds) for point in points)))
        self._columns = {point: number for number, point in enumerate(points)}
        self._frontiers = frontiers
        self._means: dict[str, Array] = {}
        for group, sizes in frontiers.sizes.items():
            drawn = np.stack([draw_seeds(point.accuracies[group], uniforms) for point in points], axis=-1)
            self._means[group] = resample_sets(np.clip(drawn, 0.0, 1.0), sizes, generator).mean(axis=1)

    def mean(self, point: FrontierPoint, group: str) -> Estimate:
        """Mean accuracy of a point on the sets of a group, as a fraction."""
        return _estimate(point.mean(group), self._means[group][:, self._columns[point]])

    def areas(self, group: str) -> list[Estimate]:
        """Area that each series dominates over ``Frontiers.reference``, which is held fixed; a product of fractions."""
        reference = self._frontiers.reference(group)
        estimates = []
        for series in self._frontiers.series:
            columns = [self._columns[point] for point in series.points]
            area = hypervolume(series.means(ID), series.means(group), reference)
            replicates = hypervolume(self._means[ID][:, columns], self._means[group][:, columns], reference)
            estimates.append(_estimate(float(area), replicates))
        return estimates


def _estimate(value: float, replicates: Array) -> Estimate:
    tail = (1.0 - COVERAGE) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return Estimate(value, float(low), float(high))
