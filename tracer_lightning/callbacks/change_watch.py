"""Comparison of the student before and after training during tests."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch.distributed.tensor import DTensor

from tracer_lightning.evaluation.changes import Changes, SetChanges
from tracer_lightning.evaluation.logits import Classifier
from tracer_lightning.evaluation.saliency import by_tower
from tracer_lightning.reporting.changed import collect_samples
from tracer_lightning.reporting.report.record import ChangedImages
from tracer_lightning.types import Batch


class ChangeWatch:
    """Search for the images that a run forgot or learned.

    Args:
        count: number of forgotten images, and of learned ones, to keep per dataset.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._before: Any = None
        self._changes: Changes | None = None

    def keep(self, student: Any) -> None:
        """Copy the model before training."""
        with torch.inference_mode(False):  # saliency maps need gradients of the copy
            self._before = copy.deepcopy(student).eval()

    def start(self, pl_module: Any, trainer: pl.Trainer) -> None:
        """Start a test; without a copy of the model, nothing is compared.

        Raises:
            ValueError: the model is sharded, so that no rank has all of its weights.
        """
        if any(isinstance(p, DTensor) for p in pl_module.student.parameters()):
            raise ValueError(
                "images must be 0 for sharded models, whose changes can't be compared; or use DDP, not FSDP"
            )
        if self._before is not None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            if not data.has_classes:
                raise ValueError("images must be 0 for data without classes, among which predictions change")
            prompts = data.prompts().to(pl_module.device)
            before = Classifier(self._before.to(pl_module.device), prompts, zero_shot=True)
            own_prompts = {name: own.to(pl_module.device) for name, own in data.own_prompts().items()}
            after = Classifier(pl_module.student, prompts)
            self._changes = Changes(data.eval_sets, before, after, self.count, own_prompts)

    def update(self, batch: Batch, set_index: int) -> None:
        """Compare the models on a batch of the evaluation set of this index."""
        if self._changes is not None:
            self._changes.update(batch, set_index)

    def finish(self) -> Mapping[str, SetChanges] | None:
        """Return the changes, gathered over all processes; None where nothing was compared."""
        return None if self._changes is None else self._changes.finish()

    def changed_images(self, changes: Mapping[str, SetChanges], data: Any) -> ChangedImages:
        """Return the images to show, with saliency maps where these can be computed."""
        assert self._changes is not None
        models, note = self._changes.models, ""
        try:
            images = collect_samples(changes, data.eval_sets, data.spec, models, by_tower)
        except Exception as error:  # for example, lack of memory: a report without maps is better than none
            note, images = (
                f"There are no maps: {error}.",
                collect_samples(changes, data.eval_sets, data.spec, models, None),
            )
        return ChangedImages(changes, images, note)
