"""What teacher and student make of the batches that they are trained on."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch

from tracer_lightning.functional.statistics import (
    matching_log_probabilities,
    mean_confidence,
    mean_divergence,
    mean_entropy,
)


class TeacherStatistics(pl.Callback):
    """Log entropy and confidence of student and teacher, and the divergence between them.

    ``student/entropy``, ``student/confidence`` and, where a loss term compares with a teacher, ``teacher/entropy``,
    ``teacher/confidence`` and ``teacher/kl`` (see :mod:`tracer_lightning.functional.statistics`), of the features
    that the training step returns: no further pass through any model, the same on every rank, no wait for the device.
    Nothing is logged where the losses ask for no texts.
    Lightning writes the last value at each of its own logging steps, ``trainer.log_every_n_steps``.

    Args:
        every_n_steps: optimizer steps between statistics.
    """

    def __init__(self, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be a whole number >= 1, found {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin, or continue, at the trainer's step."""
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log where this batch completed an optimizer step, and the step is a multiple of ``every_n_steps``."""
        step = trainer.global_step
        if step != self._seen and step % self.every_n_steps == 0 and len(outputs["features"].student.text):
            self._log(pl_module, outputs["features"])
        self._seen = step

    @torch.no_grad()
    def _log(self, pl_module: Any, features: Any) -> None:
        with torch.autocast(pl_module.device.type, enabled=False):
            student = matching_log_probabilities(features.student)
            found = {"student/entropy": mean_entropy(student), "student/confidence": mean_confidence(student)}
            if features.teacher is not None:
                teacher = matching_log_probabilities(features.teacher)
                found |= {
                    "teacher/entropy": mean_entropy(teacher),
                    "teacher/confidence": mean_confidence(teacher),
                    "teacher/kl": mean_divergence(teacher, student),
                }
        pl_module.log_dict(found, on_step=True, on_epoch=False)
