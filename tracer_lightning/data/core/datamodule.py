"""The data module that every kind of data extends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tracer_lightning.data.core.loader import CountedLoader, ResumableLoader
from tracer_lightning.data.core.mix import Mix, MixedDataset, MixedSampler, MixLevel
from tracer_lightning.data.core.prefetch import prefetch_next
from tracer_lightning.data.core.sampler import EpochPosition, EpochSampler, EvalSampler
from tracer_lightning.data.core.workers import init_worker
from tracer_lightning.types import ClassTexts

PREFETCHED = 2
"""Number of batches that each worker prefetches: torch's default."""


class DataModule(pl.LightningDataModule):
    """Training batches in a random order that can be resumed anywhere, and evaluation sets.

    A subclass gives ``eval_sets``, ``val_set``, :meth:`train_dataset`, :meth:`eval_dataset` and :meth:`collate`. The
    position in the training data is part of the state.

    Args:
        spec: inputs that the model expects.
        batch_size: samples of the *global* training batch.
        eval_batch_size: samples per process of an evaluation batch.
        num_workers: loading processes per rank; 0 loads in the training process.
        seed: seed of the order.
        evaluates: whether evaluation sets are needed; False for the auxiliary sets of a mix, of which only training
            samples are used.
    """

    eval_sets: Sequence[Any] = ()
    """The test suite: sets with a ``name``, a ``split``, a ``role`` (``id``, ``ood``, ``other``) and, where known, the
    number of their ``samples`` (:class:`tracer_lightning.types.EvalSet`, or another of these fields)."""
    val_set: Any
    """The set watched during training."""
    validation_remedy: ClassVar[str] = (
        "add a set with role: val to the suite or, of folders and arrays, hold samples out with data.held_out.fraction"
    )
    """How to get a validation set that is not tested, for errors."""
    trains: bool = True
    """False where models are only evaluated: the training data are not looked at then."""
    incomplete: int = 0
    """Number of samples left out because a part of them is missing."""
    mix: Mix | None = None
    """Auxiliary sets of :meth:`mix_in`, which are data modules; None for the main training set alone."""
    mix_level: MixLevel = "sample"
    """Default level of a mix."""

    def __init__(
        self,
        spec: Any,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        evaluates: bool = True,
    ) -> None:
        super().__init__()
        if num_workers < 0:
            raise ValueError(f"num_workers must be >= 0, got {num_workers}")
        self.spec, self.seed, self.evaluates = spec, seed, evaluates
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self._sampler: EpochPosition | None = None
        self._restored: dict[str, Any] | None = None
        self._shuffled: tuple[int, int | None] | None = None

    # -- for subclasses ---------------------------------------------------------------------------------------------

    def train_dataset(self) -> Dataset[Any]:
        """Training samples by (epoch, index), of known length."""
        raise NotImplementedError

    def eval_dataset(self, eval_set: Any) -> Dataset[Any]:
        """Samples of one evaluation set by (0, index), of known length; index -1 gives padding."""
        raise NotImplementedError

    def plain_dataset(self) -> Dataset[Any]:
        """Training samples as evaluation prepares them."""
        raise NotImplementedError

    def collate(self) -> Callable[[Sequence[Any]], Any]:
        """Samples to a batch."""
        raise NotImplementedError

    def auxiliary_dataset(self, name: str) -> Dataset[Any]:
        """Training samples of an auxiliary set of the mix, as this module's batches take them."""
        assert self.mix is not None
        dataset: Dataset[Any] = self.mix.sets[name].train_dataset()
        return dataset

    def context(self) -> dict[str, Any]:
        """Properties of the data that heads, anchors and suites need, by name."""
        return {}

    def suite_context(self) -> dict[str, Any]:
        """Properties of the data that suites need, by name: the context, and what only evaluation needs."""
        return self.context()

    def check_losses(self, reads: frozenset[str], terms: Iterable[Any]) -> list[str]:
        """Raise ValueError where the data lack what losses read.

        Args:
            reads: fields of the features that losses read.
            terms: the loss terms.

        Returns:
            Warnings about losses that suit the data badly.
        """
        del reads, terms
        return []

    def draw_image_template_pairs(self) -> None:
        """Draw an epoch from all pairs of an image and a template, as the released code does."""
        raise ValueError(f"it needs images with captions, and a {type(self).__name__} has none")

    def label_names(self, eval_set: Any) -> list[str]:
        """Names of the labels of an evaluation set; none where its labels are no classes."""
        del eval_set
        return []

    def class_texts(self) -> ClassTexts | None:
        """Class names and templates of the training classes; None where samples have no such classes."""
        return None

    def about_validation(self) -> str:
        """A line on where the validation samples come from; empty where users expect it."""
        return ""

    def about_memory(self) -> str:
        """A line on the samples that are kept in memory since the sets were opened; empty where none are."""
        return ""

    def epoch_counts(self) -> dict[str, int]:
        """Counts of this rank's epoch to log as ``train/<name>``, summed over ranks."""
        if not isinstance(self._sampler, MixedSampler):
            return {}
        return {"auxiliary_samples": self._sampler.count_auxiliary() if self._ranks[0] == 0 else 0}

    @property
    def unreadable(self) -> set[str]:
        """Where the samples are that this process could not read, and why."""
        return set()

    # -- data-hybrid training ---------------------------------------------------------------------------------------

    def mix_in(
        self,
        sets: Mapping[str, DataModule],
        ratio: float,
        level: MixLevel | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        """Mix the training samples of auxiliary sets into the training batches; nothing else reads them.

        Args:
            sets: data modules of the same class, by name.
            ratio: expected fraction of auxiliary samples, in [0, 1).
            level: see :class:`tracer_lightning.data.core.mix.Mix`; None for ``mix_level``.
            weights: see :class:`tracer_lightning.data.core.mix.Mix`.
        """
        self.mix = Mix(sets, ratio, self.mix_level if level is None else level, weights)

    # -- Lightning --------------------------------------------------------------------------------------------------

    @property
    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def shuffle_evaluation(self, seed: int, samples: int | None = None) -> None:
        """Read every evaluation set in a random order, whatever its own, and no more than so many of its samples."""
        self._shuffled = (seed, samples)

    def setup(self, stage: str) -> None:
        """Open and check all data, so that faulty data end the run before training."""
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

    def val_dataloader(self) -> Iterable[Any]:
        """The set watched during training."""
        return self.eval_loader(self.val_set)

    def test_dataloader(self) -> list[Iterable[Any]]:
        """The suite, in the order of ``eval_sets``."""
        return prefetch_next([self.eval_loader(eval_set) for eval_set in self.eval_sets], PREFETCHED * self.num_workers)

    def predict_dataloader(self) -> Iterable[Any]:
        """Every training sample once, prepared as in evaluation."""
        return self.plain_loader()

    def train_loader(self) -> CountedLoader:
        """Training batches from the beginning of the first epoch."""
        dataset: Any = self.train_dataset()
        options = (len(dataset), self.batch_size, self.seed, *self._ranks)
        if self.mix is None:
            return ResumableLoader(dataset, EpochSampler(*options), **self._loader_options())
        auxiliary: dict[str, Any] = {}
        for name, module in self.mix.sets.items():
            module.trainer = self.trainer
            auxiliary[name] = self.auxiliary_dataset(name)
        sampler = MixedSampler(self.mix, {name: len(samples) for name, samples in auxiliary.items()}, *options)
        return ResumableLoader(MixedDataset([dataset, *auxiliary.values()]), sampler, **self._loader_options())

    def eval_loader(self, eval_set: Any) -> Iterable[Any]:
        """Every sample of one evaluation set once, the same number of batches on every rank."""
        return self._in_order(self.eval_dataset(eval_set), self._shuffled)

    def plain_loader(self, shuffled: tuple[int, int | None] | None = None) -> Iterable[Any]:
        """Training samples once, prepared as in validation: all, or so many in the random order of (seed, number)."""
        return self._in_order(self.plain_dataset(), shuffled)

    def _in_order(self, dataset: Any, shuffled: tuple[int, int | None] | None = None) -> Iterable[Any]:
        order = None
        if shuffled is not None:
            order = np.random.default_rng(shuffled[0]).permutation(len(dataset))[: shuffled[1]].tolist()
        sampler = EvalSampler(len(dataset), self.eval_batch_size, *self._ranks, order)
        loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler, **self._loader_options())
        return loader

    def _loader_options(self) -> dict[str, Any]:
        return {
            "collate_fn": self.collate(),
            "num_workers": self.num_workers,
            "pin_memory": torch.cuda.is_available(),
            "persistent_workers": False,
            "worker_init_fn": init_worker,
        }

    def state_dict(self) -> dict[str, Any]:
        """The position in the training data."""
        return {} if self._sampler is None else {"sampler": self._sampler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position."""
        self._restored = state_dict.get("sampler")
