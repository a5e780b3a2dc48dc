"""The data module that every data set extends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tracer_lightning.data.captions import CaptionTable
from tracer_lightning.data.dataset import CaptionedDataset, Collate, ImageSource, Transform
from tracer_lightning.data.loader import ResumableLoader
from tracer_lightning.data.sampler import EpochSampler, EvalSampler
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.types import Batch, EvalSet, InputSpec

JUDGED_OVER = 10_000
"""Pictures over which the share of unreadable ones is judged at least."""


class ClipDataModule(pl.LightningDataModule):
    """Captioned training batches and labelled evaluation sets, for one model's inputs.

    A subclass gives ``classnames``, ``templates``, ``eval_sets`` and ``val_set``, and reads pictures in
    :meth:`train_source` and :meth:`eval_source`. Batches hold uint8 pictures, normalised once they are on the device.
    The position in the training data is part of the state, so that a run continues in the middle of an epoch.

    Args:
        spec: what the model expects.
        batch_size: samples of the *global* training batch.
        eval_batch_size: samples per process of an evaluation batch.
        num_workers: loading processes per rank; 0 loads in the training process.
        seed: of order and captions.
        max_bad_fraction: share of unreadable pictures beyond which the run ends, judged over at least 10,000 pictures.
    """

    classnames: Sequence[str]
    """C class names."""
    templates: Sequence[str]
    """P caption templates with ``{c}``, for captions and for the zero-shot head."""
    eval_sets: Sequence[EvalSet]
    """The test suite."""
    val_set: EvalSet
    """The ID split watched during training."""
    train_transform: Transform | None = None
    """Crops training pictures to the model's size."""
    eval_transform: Transform | None = None
    """Crops evaluation pictures to the model's size."""

    def __init__(
        self,
        spec: InputSpec,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        max_bad_fraction: float,
    ) -> None:
        super().__init__()
        if num_workers < 0:
            raise ValueError(f"data.num_workers must be a whole number >= 0, found {num_workers}")
        self.spec = spec
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        if not 0.0 <= max_bad_fraction < 1.0:
            raise ValueError(f"max_bad_fraction must lie in [0, 1), found {max_bad_fraction}")
        self.max_bad_fraction = max_bad_fraction
        self.unreadable: list[str] = []
        """Where the pictures were that this process could not read."""
        self._seen = 0
        self._sampler: EpochSampler | None = None
        self._restored: dict[str, Any] | None = None
        self._statistics: dict[torch.device, tuple[Tensor, Tensor]] = {}

    # -- for subclasses ---------------------------------------------------------------------------------------------

    def train_source(self) -> ImageSource:
        """Training pictures."""
        raise NotImplementedError

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """Pictures of one evaluation set."""
        raise NotImplementedError

    # -- texts ------------------------------------------------------------------------------------------------------

    def captions(self) -> CaptionTable:
        """Every template for every class."""
        return CaptionTable(self.classnames, self.templates, self.spec.tokenize)

    def prompts(self) -> Tensor:
        """(C, P, L) tokens of every template for every class, for zero-shot heads."""
        tokens = self.captions().tokens
        return trim_tokens(tokens.flatten(0, 1)).reshape(*tokens.shape[:2], -1) if self.spec.trims_text else tokens

    # -- Lightning --------------------------------------------------------------------------------------------------

    @property
    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> ResumableLoader:
        """Global batches of random order, this rank's share of each."""
        dataset = CaptionedDataset(
            self.train_source(), self.captions(), self.train_transform, self.spec.image_size, self.seed
        )
        self._sampler = EpochSampler(len(dataset), self.batch_size, self.seed, *self._ranks)
        self._sampler.reshuffle = not getattr(self.trainer, "overfit_batches", 0)
        if self._restored is not None:
            self._sampler.load_state_dict(self._restored)
        return ResumableLoader(dataset, self._sampler, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Any]:
        """The ID split watched during training."""
        return self._eval_loader(self.val_set)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """The suite, in the order of ``eval_sets``."""
        return [self._eval_loader(eval_set) for eval_set in self.eval_sets]

    def _eval_loader(self, eval_set: EvalSet) -> DataLoader[Any]:
        dataset: Dataset[Any] = CaptionedDataset(
            self.eval_source(eval_set), None, self.eval_transform, self.spec.image_size, self.seed
        )
        sampler = EvalSampler(len(dataset), self.eval_batch_size, *self._ranks)  # type: ignore[arg-type]
        return DataLoader(dataset, batch_sampler=sampler, **self._loader_options())

    def _loader_options(self) -> dict[str, Any]:
        return {
            "collate_fn": Collate(self.spec.trims_text),
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": False,
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise uint8 pictures (B, 3, H, W) to the model's floats."""
        del dataloader_idx
        self._count(batch)
        if batch.images.device not in self._statistics:
            mean, std = (
                torch.tensor(values, device=batch.images.device).view(1, 3, 1, 1)
                for values in (self.spec.mean, self.spec.std)
            )
            self._statistics[batch.images.device] = (255.0 * mean, 255.0 * std)
        mean, std = self._statistics[batch.images.device]
        return batch._replace(images=batch.images.to(mean.dtype).sub_(mean).div_(std))

    def _count(self, batch: Batch) -> None:
        self._seen += len(batch.labels)
        self.unreadable += batch.unreadable
        if len(self.unreadable) > self.max_bad_fraction * max(self._seen, JUDGED_OVER):
            raise ValueError(
                f"data: {len(self.unreadable)} of {self._seen} pictures can't be read, more than "
                f"data.max_bad_fraction={self.max_bad_fraction:g} allows; the last is {self.unreadable[-1]}"
            )

    def state_dict(self) -> dict[str, Any]:
        """The position in the training data."""
        return {} if self._sampler is None else {"sampler": self._sampler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._restored = state_dict.get("sampler")
