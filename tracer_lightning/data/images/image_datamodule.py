"""The part of a data module that counts unreadable images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from tracer_lightning.data.core.datamodule import DataModule
from tracer_lightning.data.images.unreadable import TRAINING, UnreadableImages


def auxiliary_prefix(name: str) -> str:
    """Beginning of the locations of unreadable images of an auxiliary set."""
    return f"auxiliary set {name}: "


class ImageDataModule(DataModule):
    """Data module of images, some of which may be unreadable.

    A subclass calls :meth:`count_unreadable` for every batch, and gives :meth:`set_size`.

    Args:
        spec: inputs that the model expects.
        max_bad_fraction: see :class:`tracer_lightning.data.images.unreadable.UnreadableImages`.
        loading: further arguments of :class:`DataModule`.
    """

    def __init__(self, spec: Any, max_bad_fraction: float, **loading: Any) -> None:
        super().__init__(spec, **loading)
        self._unreadable = UnreadableImages(max_bad_fraction)
        self._unreadable_in_epoch = 0

    @property
    def unreadable(self) -> set[str]:
        """Where the images are that this process could not read, and why."""
        return self._unreadable.all.union(*(module.unreadable for module in self._auxiliary.values()))

    def set_size(self, eval_set: Any) -> int:
        """Number of images of an evaluation set or, for None, of the training set."""
        raise NotImplementedError

    @property
    def _auxiliary(self) -> Mapping[str, Any]:
        """Data modules of the auxiliary sets of the mix."""
        return {} if self.mix is None else self.mix.sets

    def count_unreadable(self, locations: Sequence[str], indices: Tensor, dataloader_idx: int) -> None:
        """Count the unreadable images of a batch that the trainer reads.

        Args:
            locations: locations of unreadable images, with the reasons.
            indices: (B,) positions of the samples; -1 for padding.
            dataloader_idx: number of the trainer's loader.

        Raises:
            ValueError: the set has too many unreadable images.
        """
        eval_set = self._set_of(dataloader_idx)
        self._count_in_set(locations, indices, eval_set)
        if eval_set is TRAINING:
            self._unreadable_in_epoch += len(locations)

    def _count_in_set(self, locations: Sequence[str], indices: Tensor, eval_set: Any) -> None:
        """Count the unreadable images of a batch by set; those of auxiliary sets count in the sets' own modules."""
        for name, module in self._auxiliary.items() if eval_set is TRAINING and locations else ():
            auxiliary = tuple(text for text in locations if text.startswith(auxiliary_prefix(name)))
            module._count_in_set(auxiliary, indices, TRAINING)
            locations = tuple(text for text in locations if text not in auxiliary)
        processes = self._ranks[1]
        self._unreadable.count(locations, indices, eval_set, lambda: -(-self.set_size(eval_set) // processes))

    def epoch_counts(self) -> dict[str, int]:
        """Counts of a mix, and the number of images that could not be read since the last call."""
        unreadable, self._unreadable_in_epoch = self._unreadable_in_epoch, 0
        return {**super().epoch_counts(), "unreadable": unreadable}

    def _set_of(self, dataloader_idx: int) -> Any:
        """The evaluation set that the trainer is reading; None for the training set."""
        if self.trainer is None or not self.trainer.evaluating:
            return TRAINING
        return self.eval_sets[dataloader_idx] if self.trainer.testing else self.val_set
