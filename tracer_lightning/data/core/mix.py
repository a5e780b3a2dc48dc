"""Data-hybrid training: samples of auxiliary sets among those of the main training set."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from tracer_lightning.data.core.sampler import EpochPosition, Keys

MixLevel = Literal["sample", "batch"]
MAIN = 0
"""Number of the main set among the sources of samples; the auxiliary sets have 1, 2, ..."""
SOURCE_STREAM, ORDER_STREAM = 0x501CE, 0x08DE8
"""Entries of seeds that make the draws of sources and of auxiliary samples independent of other uses of the seed."""


@dataclass(frozen=True)
class Mix:
    """Auxiliary training sets and their share of the training samples.

    Mixing in data that are like those of pretraining keeps what a model knew (He Li et al., 2026, arXiv 2603.14493).

    Args:
        sets: names of the auxiliary sets, and anything that stands for them.
        ratio: expected fraction of auxiliary samples, rho in [0, 1).
        level: ``sample`` draws the source of each sample, and ``batch`` that of each global batch.
        weights: relative share of each auxiliary set; None for shares proportional to the numbers of samples.

    Raises:
        ValueError: an argument is out of range, or weights and sets have different names.
    """

    sets: Mapping[str, Any]
    ratio: float
    level: MixLevel
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.ratio < 1.0:
            raise ValueError(f"ratio must lie in [0, 1), got {self.ratio}")
        if self.level not in get_args(MixLevel):
            raise ValueError(f"level must be one of {', '.join(get_args(MixLevel))}, got {self.level!r}")
        if not self.sets:
            raise ValueError("sets must name at least one auxiliary set, got none")
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, weights: Mapping[str, float]) -> None:
        for name in sorted({*weights} ^ {*self.sets}):
            problem = "lacks" if name in self.sets else "names the unknown set"
            raise ValueError(f"weights {problem} {name}; it must have one number for each of {', '.join(self.sets)}")
        for name, weight in weights.items():
            if not 0.0 <= weight < math.inf:
                raise ValueError(f"weights.{name} must be a number >= 0, got {weight}")
        if not any(weights.values()):
            raise ValueError("weights must not all be 0; give at least one set a positive weight")

    def shares(self, sizes: Mapping[str, int]) -> NDArray[np.float64]:
        """Probabilities (K,) of the auxiliary sets, which sum to ``ratio``.

        Args:
            sizes: number of samples of each set.
        """
        weights = sizes if self.weights is None else self.weights
        values = np.array([weights[name] for name in self.sets], dtype=np.float64)
        shares: NDArray[np.float64] = self.ratio * values / values.sum()
        return shares


class MixedSampler(EpochPosition, Sampler[Keys]):
    """Batches of samples of the main set and of auxiliary sets, resumable at any batch.

    The source of each position is drawn by (seed, epoch, position). An epoch has as many batches as without a mix. Its
    main samples are the first ones of the epoch's usual permutation, so that a ratio of 0 gives the batches of
    :class:`tracer_lightning.data.core.sampler.EpochSampler`. Its auxiliary samples are the first ones of permutations
    of their set, which are new ones in every epoch. A set that an epoch needs more than once is permuted again; such a
    pass counts as an epoch of the set in the keys of its samples, so that repeated samples are augmented differently.

    The order depends only on seed and epoch, and the state counts samples of the global batch, so that a run may resume
    with another number of workers or ranks.

    Args:
        mix: auxiliary sets and their share.
        sizes: number of samples of each auxiliary set.
        options: arguments of :class:`tracer_lightning.data.core.sampler.EpochPosition` for the main set.

    Raises:
        ValueError: a set is empty or, at the level of batches, smaller than a batch, or an epoch has less than one
            auxiliary batch.
    """

    def __init__(self, mix: Mix, sizes: Mapping[str, int], *options: int) -> None:
        super().__init__(*options)
        self.mix, self.sizes = mix, dict(sizes)
        self._check_sizes()
        self._shares = mix.shares(sizes)

    def _check_sizes(self) -> None:
        by_batch = self.mix.level == "batch"
        smallest = self.batch_size if by_batch else 1
        for name, size in self.sizes.items():
            if size < smallest:
                unit = f"a batch has {self.batch_size}" if by_batch else "a set must not be empty"
                raise ValueError(f"mix.sets.{name} has {size:,} samples, and {unit}")
        if by_batch and 0 < self.mix.ratio * len(self) < 1:
            raise ValueError(
                f"mix.ratio={self.mix.ratio:g} of the {len(self):,} batches of an epoch is less than one batch; choose "
                "a larger ratio, a smaller batch_size or level 'sample'"
            )

    def sources(self) -> NDArray[np.int64]:
        """Number of the source of every position of the epoch (N,): 0 for the main set, 1 for the first auxiliary."""
        by_batch = self.mix.level == "batch"
        draws = np.random.default_rng((*self.order_seed, SOURCE_STREAM)).random(
            len(self) if by_batch else len(self) * self.batch_size
        )
        sets = np.searchsorted(np.cumsum(self._shares), draws, side="right")  # K beyond the last share
        sources = np.where(sets == len(self._shares), MAIN, sets + 1)
        return np.repeat(sources, self.batch_size) if by_batch else sources

    def count_auxiliary(self) -> int:
        """Number of auxiliary samples among those of the global batches consumed in this epoch."""
        return int((self.sources()[: self.consumed] != MAIN).sum())

    def __iter__(self) -> Iterator[Keys]:
        """Yield this rank's share of each remaining global batch as keys of a :class:`MixedDataset`."""
        epochs, indices = self._order()
        share = self.batch_size // self.world_size
        for start in range(self.consumed, len(self) * self.batch_size, self.batch_size):
            rows = slice(start + self.rank * share, start + (self.rank + 1) * share)
            yield list(zip(epochs[rows].tolist(), indices[rows].tolist(), strict=True))

    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Epoch (N,) and index (N,) of every position's key."""
        sources = self.sources()
        epochs, indices = np.full(len(sources), self.epoch), np.empty(len(sources), np.int64)
        positions = np.flatnonzero(sources == MAIN)
        indices[positions] = np.random.default_rng(self.order_seed).permutation(self.size)[: len(positions)]
        first_index = self.size
        for source, size in enumerate(self.sizes.values(), MAIN + 1):
            positions = np.flatnonzero(sources == source)
            epochs[positions], order = self._auxiliary_order(source, size, len(positions), len(sources))
            indices[positions] = first_index + order
            first_index += size
        return epochs, indices

    def _auxiliary_order(
        self, source: int, size: int, count: int, positions: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Epoch (count,) and index (count,) of the samples that an epoch of so many positions draws from a set."""
        drawn_in_pass = size
        if self.mix.level == "batch":
            drawn_in_pass -= size % self.batch_size  # no batch has samples of two passes, which may be the same ones
        passes_per_epoch = -(-positions // drawn_in_pass)
        passes = np.arange(-(-count // drawn_in_pass))
        seed, epoch = self.order_seed
        orders = [
            np.random.default_rng((seed, epoch * passes_per_epoch + number, ORDER_STREAM, source)).permutation(size)[
                :drawn_in_pass
            ]
            for number in passes.tolist()
        ]
        epochs = np.repeat(self.epoch * passes_per_epoch + passes, drawn_in_pass)[:count]
        return epochs, np.concatenate([np.empty(0, np.int64), *orders])[:count]

    def state_dict(self) -> dict[str, Any]:
        """The position, and the mix."""
        weights = None if self.mix.weights is None else dict(self.mix.weights)
        mix = {"ratio": self.mix.ratio, "level": self.mix.level, "sizes": self.sizes, "weights": weights}
        return {**super().state_dict(), "mix": mix}


class MixedDataset(Dataset[Any]):
    """Several datasets of samples by (epoch, index), one behind the other.

    Args:
        datasets: the main dataset and the auxiliary ones, in the order of the sampler's sources.
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = datasets
        self._first_indices = [0, *accumulate(map(len, datasets))][:-1]

    def __len__(self) -> int:
        """Number of samples of all datasets."""
        return sum(map(len, self.datasets))

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Return the sample of ``key`` = (epoch, index)."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> list[Any]:
        """Return the samples of several keys, as a ``DataLoader`` asks for those of a batch."""
        sources = [bisect_right(self._first_indices, index) - 1 for _, index in keys]
        samples: list[Any] = [None] * len(keys)
        for source in sorted(set(sources)):
            rows = [row for row, row_source in enumerate(sources) if row_source == source]
            local_keys = [(keys[row][0], keys[row][1] - self._first_indices[source]) for row in rows]
            for row, sample in zip(rows, load_samples(self.datasets[source], local_keys), strict=True):
                samples[row] = sample
        return samples


def load_samples(dataset: Any, keys: Sequence[tuple[int, int]]) -> Sequence[Any]:
    """Samples of several keys, together where the dataset has ``__getitems__``."""
    if hasattr(dataset, "__getitems__"):
        samples: Sequence[Any] = dataset.__getitems__(keys)
        return samples
    return [dataset[key] for key in keys]
