"""What teacher and student make of the batches that they are trained on, and how far apart their weights are."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tracer_lightning.functional.distance import distance
from tracer_lightning.functional.distributed import shard_like
from tracer_lightning.functional.lora_merge import merged_trained, merged_values
from tracer_lightning.functional.statistics import (
    matching_log_probabilities,
    mean_confidence,
    mean_divergence,
    mean_entropy,
    mean_true_pair,
    top_overlap,
)
from tracer_lightning.functional.steps import planned_steps
from tracer_lightning.types import ClipFeatures, LossInputs


class TeacherStatistics(pl.Callback):
    """Log how sure student and teacher are, how far they agree and, where asked, how far their weights are apart.

    Of the features that the training step returns (no further pass through any model; see
    :mod:`tracer_lightning.functional.statistics`): ``entropy``, ``confidence`` and ``true_pair`` of ``student/`` and
    ``teacher/``, and ``teacher/kl``, ``teacher/kl_reverse``, ``teacher/agreement`` and ``teacher/top5_overlap`` between
    them. There are none of the teacher where no loss term compares with it, and none at all where the losses read no
    captions, or the model has none.

    Of the weights, with ``distances``: ``student/distance_to_start``, ``teacher/distance_to_start`` and
    ``teacher/distance_to_student``, L2 norms over what is trained; of a weight with a low-rank update, over what it
    comes to. theta_0 is a copy of the trained weights beside the model. It is not saved: a continued run makes it again
    from the same origin.

    All are of the weights before the optimizer step, as the losses are, and are written to the loggers under that step
    by this callback itself (``trainer.callback_metrics`` lacks them), because ``pl_module.log`` would write them at
    Lightning's own logging steps. They are the same on every rank, and only a step with statistics waits for the
    device.

    Args:
        every_n_steps: optimizer steps between statistics; they are of the steps N - 1, 2N - 1, ... counted from 0.
        distances: whether distances are logged, too.
    """

    def __init__(self, every_n_steps: int, distances: bool = False) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be a whole number >= 1, found {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.distances = distances
        self._seen = 0
        self._start: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Copy theta_0: no checkpoint is restored yet, so that the student is what the run began with."""
        if self.distances and stage == "fit":
            values = merged_values(pl_module.student)
            self._start = {name: values[name].clone() for name in merged_trained(pl_module.student)}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin, or continue, at the trainer's step."""
        self._seen = trainer.global_step
        now = merged_values(pl_module.student) if self._start else {}
        self._start = {name: shard_like(value.to(pl_module.device), now[name]) for name, value in self._start.items()}
        if self.distances and self.every_n_steps > (total := planned_steps(trainer)):
            warnings.warn(
                f"callbacks.teacher_statistics.every_n_steps={self.every_n_steps} in a run of {total} steps: there "
                "will be no statistics",
                stacklevel=2,
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Let go of theta_0."""
        self._start = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Measure weights while they are those of the batch, and activations need no memory any more."""
        if self.distances and (trainer.global_step + 1) % self.every_n_steps == 0:
            self._weights = self._of_weights(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log where this batch completed an optimizer step, and the step is a multiple of ``every_n_steps``."""
        step = trainer.global_step
        if step != self._seen and step % self.every_n_steps == 0:
            with torch.no_grad(), torch.autocast(pl_module.device.type, enabled=False):
                found = _of_features(outputs["features"]) | self._weights
            if found:
                values = torch.stack(list(found.values())).tolist()  # one transfer from the device
                for logger in trainer.loggers:
                    logger.log_metrics(dict(zip(found, values, strict=True)), step - 1)
        self._seen = step

    @torch.no_grad()
    def _of_weights(self, pl_module: Any) -> dict[str, Tensor]:
        start, student = list(self._start.values()), self._trained(pl_module.student)
        found = {"student/distance_to_start": distance(student, start)}
        if pl_module.teacher.module is not None:
            teacher = self._trained(pl_module.teacher.module)
            found["teacher/distance_to_start"] = distance(teacher, start)
            found["teacher/distance_to_student"] = distance(teacher, student)
        return found

    def _trained(self, model: nn.Module) -> list[Tensor]:
        values = merged_values(model)
        return [values[name] for name in self._start]


def _of_features(features: LossInputs) -> dict[str, Tensor]:
    if not isinstance(features.student, ClipFeatures) or not len(features.student.text):
        return {}
    student = matching_log_probabilities(features.student)
    found = _of_one("student", student)
    if features.teacher is not None:
        teacher = matching_log_probabilities(features.teacher)
        found |= _of_one("teacher", teacher) | {
            "teacher/kl": mean_divergence(teacher, student),
            "teacher/kl_reverse": mean_divergence(student, teacher),
            "teacher/agreement": top_overlap(teacher, student, k=1),
            "teacher/top5_overlap": top_overlap(teacher, student, k=5),
        }
    return found


def _of_one(model: str, log_probabilities: Tensor) -> dict[str, Tensor]:
    return {
        f"{model}/entropy": mean_entropy(log_probabilities),
        f"{model}/confidence": mean_confidence(log_probabilities),
        f"{model}/true_pair": mean_true_pair(log_probabilities),
    }
