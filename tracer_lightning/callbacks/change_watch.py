"""Comparing the student with what it was, while it is tested."""

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
    """Finds the pictures that a run forgot and learned.

    Args:
        count: pictures to keep of each data set and kind.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._before: Any = None
        self._changes: Changes | None = None

    def keep(self, student: Any) -> None:
        """Copy the model as it is before training."""
        with torch.inference_mode(False):  # gradients may be asked of it later
            self._before = copy.deepcopy(student).eval()

    def start(self, pl_module: Any, trainer: pl.Trainer) -> None:
        """Begin a test; nothing is compared as long as no model was kept.

        Raises:
            ValueError: no rank has the whole of the model.
        """
        if any(isinstance(p, DTensor) for p in pl_module.student.parameters()):
            raise ValueError("callbacks.report.pictures: there are none of models in shards; set 0, or trainer=ddp")
        if self._before is not None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            prompts = data.prompts().to(pl_module.device)
            before = Classifier(self._before.to(pl_module.device), prompts, zero_shot=True)
            self._changes = Changes(data.eval_sets, before, Classifier(pl_module.student, prompts), self.count)

    def update(self, batch: Batch, set_index: int) -> None:
        """Compare on a batch of the data set at that place."""
        if self._changes is not None:
            self._changes.update(batch, set_index)

    def finish(self) -> Mapping[str, SetChanges] | None:
        """What changed, of all processes; None where nothing was compared."""
        return None if self._changes is None else self._changes.finish()

    def pictures(self, changes: Mapping[str, SetChanges], data: Any) -> ChangedImages:
        """What to show, without maps where there are none for such a tower."""
        assert self._changes is not None
        models, why = (self._changes.before, self._changes.after), ""
        try:
            shown = collect_samples(changes, data.eval_sets, data.spec, models, by_tower)
        except Exception as error:  # such as no memory for them: the pictures alone are better than no report
            why, shown = (
                f"There are no maps: {error}.",
                collect_samples(changes, data.eval_sets, data.spec, models, None),
            )
        return ChangedImages(changes, shown, why)
