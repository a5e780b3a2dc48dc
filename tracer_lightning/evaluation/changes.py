"""Images that two models judge differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tracer_lightning.evaluation.logits import Classifier, padded, prompts_of
from tracer_lightning.types import IGNORE_INDEX, Batch, ClassTexts, EvalSet

FORGOTTEN, LEARNED = "right_wrong", "wrong_right"
COUNTS = ("right_right", FORGOTTEN, LEARNED, "wrong_same", "wrong_other")
"""Right or wrong before and after; of those wrong twice, whether it is the same mistake."""


class Prediction(NamedTuple):
    """Prediction of a model for an image."""

    label: int
    """Predicted class."""
    probability: float
    """Probability of the predicted class."""
    truth: float
    """Probability of the image's own class."""


class Changed(NamedTuple):
    """An image that one of two models classifies correctly."""

    position: int
    """Position in the data set."""
    label: int
    before: Prediction
    after: Prediction
    image: Tensor
    """(3, H, W), normalised pixels, on the CPU."""

    @property
    def rank(self) -> tuple[float, int]:
        """Sort key: largest change of the probability of its own class first, ties by position."""
        return -abs(self.after.truth - self.before.truth), self.position


class SetChanges(NamedTuple):
    """Changes on one data set."""

    counts: dict[str, int]
    """Numbers of images by :data:`COUNTS`."""
    images: dict[str, list[Changed]]
    """Images with the largest changes among those forgotten and those learned."""


class Changes:
    """Counts what changed between two models, and keeps the images that changed most, in one pass over the data.

    Args:
        eval_sets: the data sets, in the order of their loaders.
        before: one model.
        after: the other.
        keep: images to keep of each data set that were forgotten, and as many that were learned.
        own_prompts: (C', P', L') tokens for each set with classes of its own, by its name.
    """

    def __init__(
        self,
        eval_sets: Sequence[EvalSet],
        before: Classifier,
        after: Classifier,
        keep: int,
        own_prompts: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.eval_sets = tuple(eval_sets)
        self.columns = [None if part.classes is None else padded(part.classes) for part in self.eval_sets]
        self.keep = keep
        self.models = _classifiers(eval_sets, before, after, own_prompts)
        """Models before and after by data set, with the head that each is tested with there."""
        self._set_changes = [SetChanges(dict.fromkeys(COUNTS, 0), {FORGOTTEN: [], LEARNED: []}) for _ in self.eval_sets]

    @torch.no_grad()
    def update(self, batch: Batch, set_index: int) -> None:
        """Take in a batch of the data set at that place."""
        columns = self.columns[set_index]
        columns = None if columns is None else columns.to(batch.images.device)
        counted = batch.labels != IGNORE_INDEX
        labels, images, indices = batch.labels[counted], batch.images[counted], batch.indices[counted]
        old, new = (
            model(batch.images, columns).softmax(dim=-1)[counted]
            for model in self.models[self.eval_sets[set_index].name]
        )
        was, now = old.argmax(dim=-1), new.argmax(dim=-1)  # (B,)
        right_before, right_after = was == labels, now == labels
        counts, kept = self._set_changes[set_index]
        for name, mask in {
            "right_right": right_before & right_after,
            FORGOTTEN: right_before & ~right_after,
            LEARNED: ~right_before & right_after,
            "wrong_same": ~right_before & (was == now),
            "wrong_other": ~right_before & ~right_after & (was != now),
        }.items():
            counts[name] += int(mask.sum())
            if name in kept:
                parts = (part[mask] for part in (indices, labels, old, new, images))
                self._keep(kept, name, [_changed(*values) for values in zip(*parts, strict=True)])

    def _keep(self, kept: dict[str, list[Changed]], name: str, candidates: Sequence[Changed]) -> None:
        first = sorted([*kept[name], *candidates], key=lambda changed: changed.rank)[: self.keep]
        # copies, because a part of a batch keeps all of it in memory
        kept[name] = [changed._replace(image=changed.image.float().cpu().clone()) for changed in first]

    def finish(self) -> dict[str, SetChanges]:
        """Changes by data set, over all processes; every process must call this."""
        parts: list[list[SetChanges]] = [self._set_changes]
        if dist.is_available() and dist.is_initialized():
            parts = [[]] * dist.get_world_size()
            dist.all_gather_object(parts, self._set_changes)
        changes = {}
        for set_index, eval_set in enumerate(self.eval_sets):
            shares = [process[set_index] for process in parts]
            counts = {name: sum(share.counts[name] for share in shares) for name in COUNTS}
            images: dict[str, list[Changed]] = {name: [] for name in (FORGOTTEN, LEARNED)}
            for share in shares:
                for name, candidates in share.images.items():
                    self._keep(images, name, candidates)
            changes[eval_set.name] = SetChanges(counts, images)
        return changes


def _classifiers(
    eval_sets: Sequence[EvalSet], before: Classifier, after: Classifier, own_prompts: Mapping[str, Tensor] | None
) -> dict[str, tuple[Classifier, Classifier]]:
    """Models before and after by data set; each head is made once."""
    by_head: dict[tuple[ClassTexts | None, bool], tuple[Classifier, Classifier]] = {(None, False): (before, after)}
    for eval_set in eval_sets:
        key = eval_set.texts, eval_set.ignores_head
        if key not in by_head and eval_set.texts is None:
            by_head[key] = before, after.zero_shot()
        elif key not in by_head:
            prompts = prompts_of(eval_set, before.prompts, own_prompts)
            by_head[key] = before.zero_shot(prompts), after.zero_shot(prompts)
    return {eval_set.name: by_head[eval_set.texts, eval_set.ignores_head] for eval_set in eval_sets}


def _prediction(probabilities: Tensor, label: int) -> Prediction:
    """The prediction that the probabilities (C,) of one image make."""
    predicted = int(probabilities.argmax())
    return Prediction(predicted, float(probabilities[predicted]), float(probabilities[label]))


def _changed(index: Tensor, label: Tensor, before: Tensor, after: Tensor, image: Tensor) -> Changed:
    """The record of one image (3, H, W), given its position (), label () and probabilities (C,)."""
    truth = int(label)
    return Changed(int(index), truth, _prediction(before, truth), _prediction(after, truth), image)


class ChangesModule(pl.LightningModule):
    """Compares two models: ``trainer.test(ChangesModule(...), data)``.

    Args:
        before: a model, tested zero-shot.
        after: a model, tested with its own head where it has one.
        eval_sets: the data sets, in the order of their loaders.
        prompts: (C, P, L) tokens of every template for every training class.
        keep: as for :class:`Changes`.
        own_prompts: as for :class:`Changes`.
    """

    prompts: Tensor

    def __init__(
        self,
        before: nn.Module,
        after: nn.Module,
        eval_sets: Sequence[EvalSet],
        prompts: Tensor,
        keep: int,
        own_prompts: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.eval_sets, self.keep = tuple(eval_sets), keep
        self.register_buffer("prompts", prompts, persistent=False)
        self._own_prompts = own_prompts or {}
        self._changes: Changes | None = None
        self.models: Mapping[str, tuple[Classifier, Classifier]] = {}
        """Models before and after by data set, with the heads of the last test."""
        self.changes: Mapping[str, SetChanges] = {}
        """Changes by data set in the last test."""

    def on_test_epoch_start(self) -> None:
        """Build the heads."""
        before = Classifier(self.before, self.prompts, zero_shot=True)
        after = Classifier(self.after, self.prompts)
        own_prompts = {name: prompts.to(self.prompts.device) for name, prompts in self._own_prompts.items()}
        self._changes = Changes(self.eval_sets, before, after, self.keep, own_prompts)
        self.models = self._changes.models

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Any:
        """Compare on a batch of one data set."""
        assert self._changes is not None
        self._changes.update(batch, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Keep what was found."""
        assert self._changes is not None
        self.changes = self._changes.finish()
