"""Resumable, rank-aware samplers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tracer_lightning.data.core.permutation import permute
from tracer_lightning.types import IGNORE_INDEX

Keys = list[tuple[int, int]]
PROGRESS = ("epoch", "consumed")
"""Keys of a position's state that change from step to step; the others identify the data."""


class EpochPosition:
    """Position of training in its data, counted in samples of the global batch.

    Args:
        size: number of samples.
        batch_size: number of samples in the *global* batch.
        seed: seed of the order.
        rank: rank of this process.
        world_size: number of processes, a divisor of ``batch_size``.
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be >= 1, got {batch_size}")
        if batch_size > size:
            raise ValueError(
                f"batch_size={batch_size} is larger than the training set of {size} samples; choose at most {size}"
            )
        if batch_size % world_size:
            raise ValueError(
                f"batch_size={batch_size}, the global batch size, must be a multiple of the {world_size} processes"
            )
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.consumed = 0
        self.reshuffle = True
        """Whether each epoch has its own order; overfitting on a few batches needs the same order in every epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch; the position is kept where the epoch is the restored one."""
        if epoch != self.epoch:
            self.epoch, self.consumed = epoch, 0

    def __len__(self) -> int:
        """Number of batches in a full epoch."""
        return self.size // self.batch_size

    @property
    def order_seed(self) -> tuple[int, int]:
        """Seed of this epoch's order."""
        return self.seed, self.epoch if self.reshuffle else 0

    def state_dict(self) -> dict[str, Any]:
        """The position as plain numbers, which are the same on every rank."""
        progress = {"epoch": self.epoch, "consumed": self.consumed}
        return {**progress, "seed": self.seed, "size": self.size, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a position.

        Raises:
            ValueError: the state is invalid, or its data differ from this run's, or their batches do: samples would be
                left out or the epoch cut short, also at an epoch's end, because Lightning counts batches.
        """
        current = self.state_dict()
        if not isinstance(state, Mapping) or any(type(state.get(name)) is not int for name in PROGRESS):
            raise ValueError(f"the checkpoint's position in the training data lacks {' or '.join(PROGRESS)}")
        saved = {"batch_size": self.batch_size, **state}  # which old checkpoints lack
        for name in {**saved, **current}:
            if name not in PROGRESS and saved.get(name) != current.get(name):
                raise ValueError(
                    f"the checkpoint's training data have {name} {saved.get(name)} and this run's {name} "
                    f"{current.get(name)}; resume with the same data, reader, batch size and seed, or start a new run "
                    "from the checkpoint's weights"
                )
        if not (state["epoch"] >= 0 and 0 <= state["consumed"] <= len(self) * self.batch_size):
            raise ValueError(f"the checkpoint's position, {state['consumed']} samples, lies outside of an epoch")
        self.epoch, self.consumed = state["epoch"], state["consumed"]


class EpochSampler(EpochPosition, Sampler[Keys]):
    """Batches of a new permutation in every epoch, resumable at any batch.

    The order depends only on seed and epoch, and the state counts samples of the global batch, so that a run may resume
    with another number of workers or ranks. Samples that don't fill a global batch are dropped; they are different ones
    in every epoch. The arguments are those of :class:`EpochPosition`.
    """

    def __iter__(self) -> Iterator[Keys]:
        """Yield this rank's share of each remaining global batch, as (epoch, index) keys."""
        order = np.random.default_rng(self.order_seed).permutation(self.size)
        share = self.batch_size // self.world_size
        for start in range(self.consumed, len(self) * self.batch_size, self.batch_size):
            indices = order[start + self.rank * share : start + (self.rank + 1) * share]
            yield [(self.epoch, int(index)) for index in indices]


class RowSampler(EpochPosition, Sampler[Keys]):
    """Batches of (image, template) pairs, called rows, in random order; every row is drawn once before any repeats.

    An epoch has as many batches as the images alone would fill, including a full last batch, so that it misses about a
    third of the images and repeats others with different templates, as in the released TRACER code. As there, an epoch
    continues where the previous one ended; once all rows are drawn, they are drawn in another order.

    Args:
        size: number of images.
        templates: number of templates.
        options: further arguments of :class:`EpochPosition`.
    """

    def __init__(self, size: int, templates: int, *options: int) -> None:
        super().__init__(size, *options)
        self.rows = size * templates

    def __len__(self) -> int:
        """Number of batches in a full epoch."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Keys]:
        """Yield this rank's share of each remaining global batch as (epoch, row) keys; the image is row // P."""
        epoch_start = self.order_seed[1] * len(self) * self.batch_size
        share = self.batch_size // self.world_size
        for start in range(self.consumed, len(self) * self.batch_size, self.batch_size):
            first = epoch_start + start + self.rank * share
            yield [(self.epoch, row) for row in self._rows(np.arange(first, first + share, dtype=np.uint64))]

    def _rows(self, positions: NDArray[np.uint64]) -> list[int]:
        """Rows at positions of an endless sequence of permutations."""
        rounds, within = np.divmod(positions, np.uint64(self.rows))
        rows = [permute(within[rounds == number], self.rows, (self.seed, int(number))) for number in np.unique(rounds)]
        return [int(row) for row in np.concatenate(rows)]

    def state_dict(self) -> dict[str, Any]:
        """The position, and the number of rows."""
        return {**super().state_dict(), "rows": self.rows}


class EvalSampler(Sampler[Keys]):
    """Every sample exactly once, in equally many batches on every rank, padded where necessary.

    Args:
        size: number of samples.
        batch_size: number of samples per rank and batch.
        rank: rank of this process.
        world_size: number of processes.
        order: indices of the samples to read, in order; None for all in their own order.
    """

    def __init__(
        self, size: int, batch_size: int, rank: int = 0, world_size: int = 1, order: Sequence[int] | None = None
    ) -> None:
        if size < 1:
            raise ValueError("size must be >= 1, got 0: an evaluation set is empty")
        if batch_size < 1:
            raise ValueError(f"eval_batch_size must be >= 1, got {batch_size}")
        self.order = range(size) if order is None else order
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size

    def __len__(self) -> int:
        """Number of batches per rank."""
        share = -(-len(self.order) // self.world_size)
        return -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Keys]:
        """Yield batches of this rank's (0, index) keys; index -1 stands for padding."""
        share = -(-len(self.order) // self.world_size)
        indices = list(self.order[self.rank :: self.world_size])
        indices += [IGNORE_INDEX] * (share - len(indices))
        for start in range(0, share, self.batch_size):
            yield [(0, index) for index in indices[start : start + self.batch_size]]
