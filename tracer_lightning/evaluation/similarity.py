"""Comparing what models make of the same inputs, block by block, in one pass over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.functional.representations import (
    MIN_INPUTS,
    cka,
    covariance,
    hsic,
    mean_canonical_correlation,
    whitening,
    with_norms,
)
from tracer_lightning.types import IGNORE_INDEX, Batch

SHARE = 0.99
"""Share of the variance that SVCCA keeps."""
MEASURES = ("cka", "cka_minibatch", "svcca")
CHUNK = 1024
"""Texts encoded at once, and in a minibatch."""
Pair = tuple[str, str]
"""Names of two models."""
Point = tuple[str, str]
"""Name of a model, and of one of its blocks."""
Values = list[list[float | None]]
"""A row for each block of the first model, a column for each of the second; None where it is undefined."""
Reduce = Callable[[Tensor, str], Tensor]
"""``sum`` or ``mean`` of a tensor over processes."""


class Similarity(NamedTuple):
    """Similarities of every block of one model with every block of another."""

    first: list[str]
    """Names of the first one's blocks, b of them."""
    second: list[str]
    """Names of the other's, c of them."""
    cka: Values
    """(b, c) the unbiased estimate on all inputs."""
    cka_minibatch: Values
    """(b, c) the minibatch estimate."""
    svcca: Values
    """(b, c) mean canonical correlation."""
    directions: tuple[list[int], list[int]]
    """Numbers of directions that SVCCA keeps, for each of the b and of the c blocks."""
    n: int
    """Number of inputs."""

    @property
    def chance(self) -> float:
        """Largest value of SVCCA, in [0, 1], that unrelated representations are expected to have.

        The mean square of the canonical correlations of k and l >= k independent normal directions is l / (n - 1).
        """
        return float(min(1.0, max(*self.directions[0], *self.directions[1]) / (self.n - 1)) ** 0.5)


def alone(value: Tensor, how: str) -> Tensor:
    """The value of a single process."""
    del how
    return value


class SimilaritySums:
    """Sums over inputs, in double precision, that the similarities of all blocks of pairs of models are made of.

    Args:
        pairs: of models to compare.
        reduce: over processes.
    """

    def __init__(self, pairs: Sequence[Pair], reduce: Reduce = alone) -> None:
        self.pairs, self._reduce = tuple(dict.fromkeys(pairs)), reduce
        self._shift: dict[Point, Tensor] = {}
        self._moments: dict[tuple[Point, Point], Tensor] = {}
        self._hsics: dict[tuple[Point, Point], Tensor] = {}

    def update(self, outputs: Mapping[str, Mapping[str, Tensor]], counted: Tensor | None = None) -> None:
        """Take in a batch.

        Args:
            outputs: model and block to (B, width).
            counted: (B,) whether the input counts; None for all. Every process must call as often, be it with none.
        """
        values = {(model, name): value for model, blocks in outputs.items() for name, value in blocks.items()}
        wide = {point: _double(value if counted is None else value[counted]) for point, value in values.items()}
        for point in () if self._shift else wide:  # something near the mean, the same on every process
            mean = wide[point].sum(dim=0) / max(1, len(wide[point]))
            self._shift[point] = self._reduce(mean, "mean")
        rows = {point: with_norms(value - self._shift[point]) for point, value in wide.items()}
        for first, second in self._compared(rows):
            sums, n = rows[first].T @ rows[second], len(rows[first])
            criterion = n * hsic(sums) if n >= MIN_INPUTS else sums.new_zeros(())
            for total, value in ((self._moments, sums), (self._hsics, criterion)):
                key = (first, second)
                total[key] = total[key].add_(value) if key in total else value

    def _compared(self, points: Mapping[Point, Tensor]) -> list[tuple[Point, Point]]:
        """Each block with itself, and the blocks of each pair with one another."""
        crossed = [
            (first, second)
            for pair in self.pairs
            for first in points
            for second in points
            if (first[0], second[0]) == pair
        ]
        return list(dict.fromkeys([*((point, point) for point in points), *crossed]))

    def compute(self) -> dict[Pair, Similarity]:
        """The similarities of each pair.

        Raises:
            ValueError: there are too few inputs, or outputs are not finite.
        """
        for sums in (self._moments, self._hsics):
            for key, value in sums.items():
                sums[key] = self._reduce(value, "sum")
        n = int(next(iter(self._moments.values()))[-1, -1])
        if n < MIN_INPUTS:
            raise ValueError(f"there are {n} inputs, and the unbiased estimate needs at least {MIN_INPUTS}")
        if not all(bool(sums.isfinite().all()) for sums in self._moments.values()):
            raise ValueError("the outputs of the blocks are not finite; choose another checkpoint")
        own = {first: sums for (first, second), sums in self._moments.items() if first == second}
        white = {point: whitening(covariance(sums), SHARE) for point, sums in own.items()}
        return {pair: self._of_pair(pair, white, n) for pair in self.pairs}

    def _of_pair(self, pair: Pair, white: Mapping[Point, Tensor], n: int) -> Similarity:
        firsts, seconds = ([point for point in white if point[0] == model] for model in pair)
        criteria_of_all = {key: hsic(sums) for key, sums in self._moments.items()}

        def alignment(criteria: Mapping[tuple[Point, Point], Tensor]) -> Values:
            return [[_number(cka(criteria[a, b], criteria[a, a], criteria[b, b])) for b in seconds] for a in firsts]

        correlations = [
            [_number(mean_canonical_correlation(covariance(self._moments[a, b]), white[a], white[b])) for b in seconds]
            for a in firsts
        ]
        return Similarity(
            [name for _, name in firsts],
            [name for _, name in seconds],
            alignment(criteria_of_all),
            alignment(self._hsics),
            correlations,
            ([white[point].shape[1] for point in firsts], [white[point].shape[1] for point in seconds]),
            n,
        )


def _double(value: Tensor) -> Tensor:
    """In double precision, on the processor where the device has none."""
    return (value.cpu() if value.device.type == "mps" else value).double()


def _number(value: Tensor) -> float | None:
    number = float(value)
    return number if number == number else None


@torch.no_grad()
def text_similarity(models: Mapping[str, nn.Module], pairs: Sequence[Pair], texts: Tensor) -> dict[Pair, Similarity]:
    """Compare what models make of texts.

    Args:
        models: name to what returns the outputs of the text tower's blocks.
        pairs: of their names.
        texts: (N, L) token ids in random order, on the device of the models.
    """
    sums = SimilaritySums(pairs)
    for chunk in texts.split(CHUNK):  # type: ignore[no-untyped-call]
        sums.update({name: model(chunk) for name, model in models.items()})
    return sums.compute()


class SimilarityModule(pl.LightningModule):
    """Compares what models make of images: ``trainer.test(SimilarityModule(...), data)``, one data set at a time.

    Args:
        models: name to what returns the outputs of the image tower's blocks.
        pairs: of their names.
    """

    def __init__(self, models: Mapping[str, nn.Module], pairs: Sequence[Pair]) -> None:
        super().__init__()
        self.models = nn.ModuleDict(models)
        self.pairs = tuple(pairs)
        self.similarities: dict[Pair, Similarity] = {}
        """Similarities on the last data set by pair, the same on every process."""

    def on_test_epoch_start(self) -> None:
        """Begin."""
        self._sums = SimilaritySums(self.pairs, self._over_processes)

    def _over_processes(self, value: Tensor, how: str) -> Tensor:
        reduced: Any = self.trainer.strategy.reduce(value, reduce_op=how)
        return reduced  # type: ignore[no-any-return]

    @torch.no_grad()
    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Take in a batch; every model sees it."""
        outputs: Any = {name: model(batch.images) for name, model in self.models.items()}
        self._sums.update(outputs, batch.labels != IGNORE_INDEX)

    def on_test_epoch_end(self) -> None:
        """Compare, and let go of the sums, which are large."""
        self.similarities = self._sums.compute()
        del self._sums
