"""Statistics of the predictions and weights of student and teacher during training."""

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
from tracer_lightning.functional.wording import counted
from tracer_lightning.types import ClipFeatures, LossInputs


class TeacherStatistics(pl.Callback):
    """Log confidence and agreement of student and teacher and, optionally, the distances of their weights.

    Statistics of the training step's features (without additional forward passes; see
    :mod:`tracer_lightning.functional.statistics`): ``entropy``, ``confidence`` and ``true_pair`` of ``student/`` and
    ``teacher/``, and ``teacher/kl``, ``teacher/kl_reverse``, ``teacher/agreement`` and ``teacher/top5_overlap`` between
    them. Those of the teacher are missing where no loss term uses it, and all are missing where the losses read no
    captions, or the model has none.

    Statistics of the weights, with ``distances``: ``student/distance_to_start``, ``teacher/distance_to_start`` and
    ``teacher/distance_to_student``, L2 norms over the trained weights, with low-rank updates merged. The initial
    weights theta_0 are copied in memory. The copy is not saved: a resumed run creates it again from the same origin.

    All statistics belong to the weights before the optimizer step, like the losses. This callback writes them directly
    to the loggers under that step, since ``pl_module.log`` would write them at Lightning's own logging steps, so that
    ``trainer.callback_metrics`` does not contain them. They are equal on all ranks, and only steps with statistics wait
    for the device.

    Args:
        every_n_steps: number N of optimizer steps between statistics, which are those of the steps N - 1, 2N - 1, ...
            counted from 0.
        distances: whether to log distances of weights.
    """

    def __init__(self, every_n_steps: int, distances: bool = False) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be >= 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.distances = distances
        self._last_step = 0
        self._start: dict[str, Tensor] = {}
        self._distances: dict[str, Tensor] = {}

    @torch.no_grad()
    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Copy theta_0; no checkpoint is restored yet, so that these are the initial weights also of a resumed run."""
        if self.distances and stage == "fit":
            values = merged_values(pl_module.student)
            self._start = {name: values[name].clone() for name in merged_trained(pl_module.student)}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start or resume at the trainer's step."""
        self._last_step = trainer.global_step
        current = merged_values(pl_module.student) if self._start else {}
        self._start = {
            name: shard_like(value.to(pl_module.device), current[name]) for name, value in self._start.items()
        }
        if self.distances and self.every_n_steps > (total := planned_steps(trainer)):
            warnings.warn(
                f"every_n_steps={self.every_n_steps} of TeacherStatistics in a run of {counted(total, 'step')}: "
                "there will be no statistics",
                stacklevel=2,
            )

    def on_fit_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Release theta_0."""
        self._start = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Measure the weights before their update, when activations are released."""
        if self.distances and (trainer.global_step + 1) % self.every_n_steps == 0:
            self._distances = self._measure_distances(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log statistics after every ``every_n_steps``-th optimizer step."""
        step = trainer.global_step
        if step != self._last_step and step % self.every_n_steps == 0:
            with torch.no_grad(), torch.autocast(pl_module.device.type, enabled=False):
                statistics = _feature_statistics(outputs["features"]) | self._distances
            if statistics:
                values = torch.stack(list(statistics.values())).tolist()  # one transfer from the device
                for logger in trainer.loggers:
                    logger.log_metrics(dict(zip(statistics, values, strict=True)), step - 1)
        self._last_step = step

    @torch.no_grad()
    def _measure_distances(self, pl_module: Any) -> dict[str, Tensor]:
        start, student = list(self._start.values()), self._trained_values(pl_module.student)
        distances = {"student/distance_to_start": distance(student, start)}
        if pl_module.teacher.module is not None:
            teacher = self._trained_values(pl_module.teacher.module)
            distances["teacher/distance_to_start"] = distance(teacher, start)
            distances["teacher/distance_to_student"] = distance(teacher, student)
        return distances

    def _trained_values(self, model: nn.Module) -> list[Tensor]:
        values = merged_values(model)
        return [values[name] for name in self._start]


def _feature_statistics(features: LossInputs) -> dict[str, Tensor]:
    if not isinstance(features.student, ClipFeatures) or not len(features.student.text):
        return {}
    student = matching_log_probabilities(features.student)
    statistics = _confidence_statistics("student", student)
    if features.teacher is not None:
        teacher = matching_log_probabilities(features.teacher)
        statistics |= _confidence_statistics("teacher", teacher) | {
            "teacher/kl": mean_divergence(teacher, student),
            "teacher/kl_reverse": mean_divergence(student, teacher),
            "teacher/agreement": top_overlap(teacher, student, k=1),
            "teacher/top5_overlap": top_overlap(teacher, student, k=5),
        }
    return statistics


def _confidence_statistics(model: str, log_probabilities: Tensor) -> dict[str, Tensor]:
    return {
        f"{model}/entropy": mean_entropy(log_probabilities),
        f"{model}/confidence": mean_confidence(log_probabilities),
        f"{model}/true_pair": mean_true_pair(log_probabilities),
    }
