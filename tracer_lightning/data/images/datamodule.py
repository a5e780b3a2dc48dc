"""The data module that every data set extends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tracer_lightning.data.core.loader import CountedLoader, ResumableLoader, RowLoader
from tracer_lightning.data.core.prefetch import prefetch_next
from tracer_lightning.data.core.sampler import EpochPosition, EvalSampler
from tracer_lightning.data.core.workers import init_worker
from tracer_lightning.data.images.captions import CaptionTables
from tracer_lightning.data.images.image_source import ImageSource
from tracer_lightning.data.images.names import group_name
from tracer_lightning.data.images.normalization import Normalization
from tracer_lightning.data.images.samples import CaptionedDataset, Collate, SampleBuilder, Transform
from tracer_lightning.data.images.shots import few_shot
from tracer_lightning.data.images.unreadable import TRAINING, UnreadableImages
from tracer_lightning.functional.text import trim_tokens
from tracer_lightning.types import Batch, EvalSet, InputSpec

PREFETCHED = 2
"""Batches that each worker of a loader is ahead: torch's default."""


class ClipDataModule(pl.LightningDataModule):
    """Captioned training batches and labelled evaluation sets, for one model's inputs.

    A subclass gives ``classnames``, ``templates``, ``eval_sets`` and ``val_set``, and reads pictures in
    :meth:`train_source` and :meth:`eval_source`, which are called once each. Batches hold uint8 pictures, normalised
    once they are on the device. The position in the training data is part of the state, so that runs can be continued.

    Args:
        spec: what the model expects.
        batch_size: samples of the *global* training batch.
        eval_batch_size: samples per process of an evaluation batch.
        num_workers: loading processes per rank; 0 loads in the training process.
        seed: of order and captions.
        max_bad_fraction: as for :class:`tracer_lightning.data.images.unreadable.UnreadableImages`.
        shots: images of each class to train on, drawn by the seed; None for all.
    """

    classnames: Sequence[str]
    """C class names."""
    templates: Sequence[str]
    """P caption templates with ``{c}``, for the zero-shot head and, unless there are others, for captions."""
    train_classnames: Sequence[str] | None = None
    train_templates: Sequence[str] = ()
    """Names and templates of captions, with ``{c}`` and perhaps ``{d}``, where they are not those of the head."""
    domains: Sequence[str] = ()
    """Names for ``{d}``, where training pictures come from several places."""
    eval_sets: Sequence[EvalSet]
    """The test suite."""
    val_set: EvalSet
    """The ID split watched during training."""
    labelled: bool = True
    """Whether training pictures have classes."""
    trains: bool = True
    """False where models are only evaluated: the training data are not looked at then."""
    draws_rows: bool = False
    """Whether an epoch is of rows of images x templates (:class:`RowLoader`), as in the released code."""
    train_transform: Transform | None = None
    """Crops training pictures to the model's size; None where they have it."""

    def __init__(
        self,
        spec: InputSpec,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        max_bad_fraction: float,
        shots: int | None = None,
    ) -> None:
        super().__init__()
        if num_workers < 0:
            raise ValueError(f"data.num_workers must be a whole number >= 0, found {num_workers}")
        if shots is not None and shots < 1:
            raise ValueError(f"data.shots must be a whole number of images per class >= 1, or null, found {shots}")
        self.spec, self.seed, self.shots = spec, seed, shots
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self._unreadable = UnreadableImages(max_bad_fraction)
        self.incomplete = 0
        """Samples without picture or label, which are left out."""
        self._tables = CaptionTables(spec.tokenize)
        self._sources: dict[EvalSet | None, ImageSource] = {}
        self._sampler: EpochPosition | None = None
        self._restored: dict[str, Any] | None = None
        self._normalization = Normalization(spec.mean, spec.std)
        self._shuffled: tuple[int, int | None] | None = None

    @property
    def unreadable(self) -> set[str]:
        """Where the images are that this process could not read, and why."""
        return self._unreadable.all

    # -- for subclasses ---------------------------------------------------------------------------------------------

    def train_source(self) -> ImageSource:
        """Training pictures."""
        raise NotImplementedError

    def eval_source(self, eval_set: EvalSet) -> ImageSource:
        """Pictures of one evaluation set."""
        raise NotImplementedError

    def eval_transform(self, eval_set: EvalSet) -> Transform | None:
        """Crops pictures of one evaluation set to the model's size; None where they have it."""
        return None

    def about_validation(self) -> str:
        """What a user must know of where the validation images come from, in a line; nothing for most data."""
        return ""

    # -- texts ------------------------------------------------------------------------------------------------------

    def prompts(self) -> Tensor:
        """(C, P, L) tokens of every template for every class, for zero-shot heads."""
        tokens = self._tables.of(self.classnames, self.templates).tokens
        return trim_tokens(tokens.flatten(0, 1)).reshape(*tokens.shape[:2], -1) if self.spec.trims_text else tokens

    def label_names(self, eval_set: EvalSet) -> list[str]:
        """Names of the labels of an evaluation set: those of the training classes that each covers."""
        groups = eval_set.classes or [(number,) for number in range(len(self.classnames))]
        return [group_name([self.classnames[number] or f"class {number}" for number in group]) for group in groups]

    def train_preparation(self) -> SampleBuilder:
        """Training pictures to samples with captions."""
        names, templates = self.train_classnames or self.classnames, self.train_templates or self.templates
        if len(names) != len(self.classnames):
            raise ValueError(f"data.texts.train_classnames has {len(names)} names for {len(self.classnames)} classes")
        captions = self._tables.of(names, templates, self.domains)
        return SampleBuilder(captions, self.train_transform, self.spec.image_size, self.seed)

    def eval_preparation(self, eval_set: EvalSet) -> SampleBuilder:
        """Pictures of one evaluation set to samples."""
        return SampleBuilder(None, self.eval_transform(eval_set), self.spec.image_size, self.seed)

    # -- Lightning --------------------------------------------------------------------------------------------------

    @property
    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def shuffle_evaluation(self, seed: int, samples: int | None = None) -> None:
        """Read every evaluation set in a random order, whatever its own, and no more than so many of its samples."""
        self._shuffled = (seed, samples)

    def setup(self, stage: str) -> None:
        """Open all data and check them, so that what is wrong with them ends the run before anything is trained."""
        del stage
        if self.trains:
            self.train_loader()
        for eval_set in (*([self.val_set] if self.trains else []), *self.eval_sets):
            self.eval_loader(eval_set)

    def train_dataloader(self) -> CountedLoader:
        """Global batches of random order, this rank's share of each."""
        loader = self.train_loader()
        loader.sampler.reshuffle = not getattr(self.trainer, "overfit_batches", 0)
        if self._restored is not None:
            loader.sampler.load_state_dict(self._restored)
        self._sampler = loader.sampler
        return loader

    def val_dataloader(self) -> Iterable[Batch]:
        """The ID split watched during training."""
        return self.eval_loader(self.val_set)

    def test_dataloader(self) -> list[Iterable[Batch]]:
        """The suite, in the order of ``eval_sets``."""
        return prefetch_next([self.eval_loader(eval_set) for eval_set in self.eval_sets], PREFETCHED * self.num_workers)

    def predict_dataloader(self) -> Iterable[Batch]:
        """Every training picture once, prepared as in evaluation."""
        return self.plain_loader()

    def train_loader(self) -> CountedLoader:
        """Training batches from the beginning of the first epoch."""
        kind, place = (RowLoader if self.draws_rows else ResumableLoader), (self.batch_size, self.seed, *self._ranks)
        return kind.of(self._source(None), self.train_preparation(), *place, **self._loader_options())

    def eval_loader(self, eval_set: EvalSet) -> Iterable[Batch]:
        """Every sample of one evaluation set once, the same number of batches on every rank."""
        return self._in_order(self._source(eval_set), self.eval_preparation(eval_set), self._shuffled)

    def plain_loader(self, shuffled: tuple[int, int | None] | None = None) -> Iterable[Batch]:
        """Training pictures once, prepared as in validation: all, or so many in the random order of (seed, number)."""
        return self._in_order(self._source(None), self.eval_preparation(self.val_set), shuffled)

    def _in_order(
        self, source: ImageSource, preparation: SampleBuilder, shuffled: tuple[int, int | None] | None = None
    ) -> Iterable[Batch]:
        dataset = CaptionedDataset(source, preparation)
        order = None
        if shuffled is not None:
            order = np.random.default_rng(shuffled[0]).permutation(len(dataset))[: shuffled[1]].tolist()
        sampler = EvalSampler(len(dataset), self.eval_batch_size, *self._ranks, order)
        loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler, **self._loader_options())
        return loader

    def _source(self, eval_set: EvalSet | None) -> ImageSource:
        if eval_set not in self._sources:
            source = self.train_source() if eval_set is None else self.eval_source(eval_set)
            if eval_set is None and self.shots is not None:
                source = few_shot(source, self.shots, self.seed, self.classnames)
            self._sources[eval_set] = source
        return self._sources[eval_set]

    def _loader_options(self) -> dict[str, Any]:
        return {
            "collate_fn": Collate(self.spec.trims_text),
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": False,
            "worker_init_fn": init_worker,
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise uint8 pictures (B, 3, H, W) to the model's floats."""
        eval_set = self._set_of(dataloader_idx)
        self._unreadable.count(batch, eval_set, lambda: -(-self.set_size(eval_set) // self._ranks[1]))
        return batch._replace(images=self._normalization(batch.images))

    def _set_of(self, dataloader_idx: int) -> EvalSet | None:
        """The evaluation set that the trainer is reading; None for the training set."""
        if self.trainer is None or not self.trainer.evaluating:
            return TRAINING
        return self.eval_sets[dataloader_idx] if self.trainer.testing else self.val_set

    def set_size(self, eval_set: EvalSet | None) -> int:
        """Images of an evaluation set or, for None, of the training set."""
        return len(self._source(eval_set))

    def state_dict(self) -> dict[str, Any]:
        """The position in the training data."""
        return {} if self._sampler is None else {"sampler": self._sampler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._restored = state_dict.get("sampler")
