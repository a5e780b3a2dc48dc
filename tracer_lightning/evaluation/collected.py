"""Collecting values of all samples of a data set."""

from __future__ import annotations

from types import SimpleNamespace

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Collected(Metric):
    """All values (N, ...) of a data set by name, gathered over ranks. A subclass gives ``update``.

    Args:
        names: names of the values.
    """

    full_state_update = False

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_state(name, [], dist_reduce_fx="cat")

    def append(self, **values: Tensor) -> None:
        """Take in values (B, ...) by name."""
        for name, value in values.items():
            getattr(self, name).append(value)

    def compute(self) -> SimpleNamespace:
        """Values of all ranks; in other containers torchmetrics makes scalars of tensors with a single element."""
        return SimpleNamespace(**{name: dim_zero_cat(getattr(self, name)) for name in self.names})

    def gathered(self) -> dict[str, Tensor]:
        """Values (N, ...) of all ranks by name, in the order of ranks and of batches."""
        return vars(self.compute())
