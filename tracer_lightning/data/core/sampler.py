"""Which samples each rank sees, and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tracer_lightning.data.core.permutation import permuted
from tracer_lightning.types import IGNORE_INDEX

Keys = list[tuple[int, int]]
MOVING = ("epoch", "consumed")
"""Entries of a position that change from step to step; the others say what data it is in."""


class EpochPosition:
    """How far training has come in its data: counted in samples of the global batch, whatever reads them.

    Args:
        size: number of samples.
        batch_size: samples of the *global* batch.
        seed: of the order.
        rank: of this process.
        world_size: number of processes, a divisor of ``batch_size``.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be a whole number >= 1, found {batch_size}")
        if batch_size > size:
            raise ValueError(
                f"data.batch_size={batch_size} is larger than the training set of {size} samples; choose at most {size}"
            )
        if batch_size % world_size:
            raise ValueError(
                f"data.batch_size={batch_size} is the global batch and must be a multiple of the {world_size} processes"
            )
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.consumed = 0
        self.reshuffle = True
        """Whether every epoch has an order of its own; overfitting on a few batches needs the same ones again."""

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch; where it is the restored one, keep its position."""
        if epoch != self.epoch:
            self.epoch, self.consumed = epoch, 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.size // self.batch_size

    @property
    def order_seed(self) -> tuple[int, int]:
        """What the order of this epoch depends on."""
        return self.seed, self.epoch if self.reshuffle else 0

    def state_dict(self) -> dict[str, Any]:
        """The position: plain numbers, the same on every rank."""
        return {"epoch": self.epoch, "consumed": self.consumed, "seed": self.seed, "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the position; ValueError where it is none, or the data are not those of the checkpoint."""
        now = self.state_dict()
        if not isinstance(state, Mapping) or any(type(state.get(name)) is not int for name in MOVING):
            raise ValueError(f"the checkpoint's position in the training data lacks {' or '.join(MOVING)}")
        if not (state["epoch"] >= 0 and 0 <= state["consumed"] <= len(self) * self.batch_size):
            raise ValueError(f"the checkpoint's position, {state['consumed']} samples, lies outside of an epoch")
        for name in {**state, **now}:
            if name not in MOVING and state.get(name) != now.get(name):
                raise ValueError(
                    f"the checkpoint's training data have {name} {state.get(name)} and this run's {name} "
                    f"{now.get(name)}; resume with the same data, reader and seed, or start from the checkpoint with "
                    "init_weights="
                )
        self.epoch, self.consumed = state["epoch"], state["consumed"]


class EpochSampler(EpochPosition, Sampler[Keys]):
    """Batches of a fresh permutation every epoch, resumable anywhere.

    The order depends on seed and epoch alone, and the state counts samples of the global batch, so that a run may be
    continued with another number of workers or ranks. What does not fill a global batch is left out, another part in
    every epoch. The arguments are those of :class:`EpochPosition`.
    """

    def __iter__(self) -> Iterator[Keys]:
        """This rank's share of each remaining global batch, as (epoch, index) keys."""
        order = np.random.default_rng(self.order_seed).permutation(self.size)
        share = self.batch_size // self.world_size
        for start in range(self.consumed, len(self) * self.batch_size, self.batch_size):
            mine = order[start + self.rank * share : start + (self.rank + 1) * share]
            yield [(self.epoch, int(index)) for index in mine]


class RowSampler(EpochPosition, Sampler[Keys]):
    """Batches of rows of images x templates in random order, none of which comes again before all others have come.

    An epoch has as many batches as the images would fill, the last one whole, so that it misses a third of the images
    and repeats others, with other templates: what the released TRACER code trains on. As there, the batches go on
    where those of the last epoch ended; where all rows have come, they come in another order.

    Args:
        size: number of images.
        templates: number of templates.
        options: the others of :class:`EpochPosition`.
    """

    def __init__(self, size: int, templates: int, *options: int) -> None:
        super().__init__(size, *options)
        self.rows = size * templates

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Keys]:
        """This rank's share of each remaining global batch, as (epoch, row) keys; row // templates is the image."""
        begin = self.order_seed[1] * len(self) * self.batch_size
        share = self.batch_size // self.world_size
        for start in range(self.consumed, len(self) * self.batch_size, self.batch_size):
            first = begin + start + self.rank * share
            yield [(self.epoch, row) for row in self._rows(np.arange(first, first + share, dtype=np.uint64))]

    def _rows(self, positions: NDArray[np.uint64]) -> list[int]:
        """The rows at these positions of an endless sequence of permutations."""
        rounds, within = np.divmod(positions, np.uint64(self.rows))
        rows = [permuted(within[rounds == number], self.rows, (self.seed, int(number))) for number in np.unique(rounds)]
        return [int(row) for row in np.concatenate(rows)]

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it counts."""
        return {**super().state_dict(), "rows": self.rows}


class EvalSampler(Sampler[Keys]):
    """Every sample once, the same number of batches on every rank, filled up with padding.

    Args:
        size: number of samples.
        batch_size: samples per rank and batch.
        rank: of this process.
        world_size: number of processes.
        order: of the samples, or of those to see; None for their own.
    """

    def __init__(
        self, size: int, batch_size: int, rank: int = 0, world_size: int = 1, order: Sequence[int] | None = None
    ) -> None:
        if size < 1:
            raise ValueError("data: an evaluation set is empty")
        if batch_size < 1:
            raise ValueError(f"data.eval_batch_size must be a whole number >= 1, found {batch_size}")
        self.order = range(size) if order is None else order
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size

    def __len__(self) -> int:
        """Batches per rank."""
        share = -(-len(self.order) // self.world_size)
        return -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Keys]:
        """(0, index) keys of this rank, index -1 for padding."""
        share = -(-len(self.order) // self.world_size)
        mine = list(self.order[self.rank :: self.world_size])
        mine += [IGNORE_INDEX] * (share - len(mine))
        for start in range(0, share, self.batch_size):
            yield [(0, index) for index in mine[start : start + self.batch_size]]
