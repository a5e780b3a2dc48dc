"""Arrays without labels, to be embedded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tracer_lightning.data.arrays.datamodule import ArraySource, StandardizedDataModule
from tracer_lightning.data.arrays.files import read_file
from tracer_lightning.data.arrays.splits import Split, chunks
from tracer_lightning.data.images.datamodule import ClipDataModule
from tracer_lightning.types import IGNORE_INDEX, Batch, EvalSet, InputSpec


def read_samples(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """(N, C, L) or (N, C, H, W) samples of a ``.npy`` file, which is mapped into memory.

    Args:
        path: the file. NaN, as behind the end of a shorter series, counts as the mean of its channel.
        shape: (C, L) or (C, H, W) of a sample.

    Raises:
        ValueError: the file can't be read, or its samples have another shape or are infinite.
    """
    if path.suffix != ".npy" or not path.is_file():
        raise ValueError(f"{path} is no .npy file of samples of the shape {shape}, which this model takes")
    array = read_file(path, str(path))
    if array.shape[1:] != shape or not len(array) or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} must be samples of the shape {shape}, which this model takes; found {array.shape}, {array.dtype}"
        )
    if any(np.isinf(chunk).any() for _, chunk in chunks(array)):
        raise ValueError(f"{path} must be of finite numbers")
    return array


class UnlabelledArrayDataModule(ClipDataModule):
    """Data module of one set of arrays without labels, standardized as those that the model was trained on.

    Args:
        spec: input specification of the model.
        samples: (N, C, L) or (N, C, H, W), not standardized.
        trained_on: the data whose training split gives the statistics.
        batch_size: samples per process of a batch.
        loading: ``num_workers`` and ``seed``, as for :class:`tracer_lightning.data.DataModule`.
    """

    trains = False
    eval_sets = (EvalSet("samples", "all", "other"),)
    classnames, templates = (), ()

    def __init__(
        self, spec: InputSpec, samples: np.ndarray, trained_on: StandardizedDataModule, batch_size: int, **loading: Any
    ) -> None:
        super().__init__(spec, 0.0, batch_size=batch_size, eval_batch_size=batch_size, **loading)
        split = Split(samples, np.full(len(samples), IGNORE_INDEX))
        self._source, self._blank = ArraySource(split, trained_on.statistics), trained_on.blank()

    def eval_source(self, eval_set: EvalSet) -> ArraySource:
        """All samples."""
        return self._source

    def blank(self) -> Tensor:
        """A sample of zeros."""
        return self._blank

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """The batch as it is: arrays are standardized when they are read."""
        return batch
