"""The LightningModule, with the only training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from tracer_lightning.evaluation import Details, Scores, ZeroShotSuite
from tracer_lightning.functional.distributed import gather, gather_features
from tracer_lightning.functional.steps import check_horizon, planned_steps
from tracer_lightning.functional.widening import widened
from tracer_lightning.losses import WeightedSum
from tracer_lightning.models import ClipModel
from tracer_lightning.models.sharding import is_sharded, shard
from tracer_lightning.teachers import AveragedTeacher, Teacher
from tracer_lightning.teachers.base import AVERAGED_BUFFERS
from tracer_lightning.types import Batch, ClipFeatures, LossInputs


class TracerModule(pl.LightningModule):
    """Student, teacher and losses; methods differ only in what is given here.

    Args:
        student: the CLIP model to train.
        teacher: made from ``student``; :class:`tracer_lightning.callbacks.TeacherUpdate` moves it.
        loss: task loss and distillation terms, of the features of the global batch.
        regularizers: terms of the student's weights, and perhaps of the features.
        optimizer: trained parameters to optimizer.
        scheduler: optimizer and total optimizer steps to scheduler, stepped once per optimizer step.
        validation: the ID split watched during training.
        test: the evaluation suite.
    """

    def __init__(
        self,
        student: ClipModel,
        teacher: Teacher,
        loss: WeightedSum,
        regularizers: WeightedSum,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], Any],
        validation: ZeroShotSuite,
        test: ZeroShotSuite,
    ) -> None:
        super().__init__()
        if loss.needs_teacher and teacher.module is None:
            raise ValueError(
                f"terms: {', '.join(loss.terms)} include distillation, which needs a teacher, and teacher=none; "
                "choose a teacher (teacher=wma), or distill_losses=[]"
            )
        if loss.needs_head != (student.head is not None):
            what = "need a head; choose one (head=zero_shot)" if loss.needs_head else "have no use for one; head=none"
            raise ValueError(f"head: the losses, {', '.join(loss.terms)}, {what}")
        self.student, self.teacher = student, teacher
        self.loss, self.regularizers = loss, regularizers
        self.optimizer, self.scheduler = optimizer, scheduler
        self.validation, self.test = validation, test
        self.results: dict[str, Scores] = {}
        """Scores of the last test, by model."""
        self.details: dict[str, dict[str, Details]] = {}
        """What they are made of, by model and data set."""
        self.total_steps: int | None = None
        """Optimizer steps of the run."""
        self.tests_heads = True
        """Whether models are tested with heads of their own, where they have any; else all zero-shot."""
        self._restored_steps: int | None = None
        self._unreadable = 0
        # DDP would send all buffers before every step, and only statistics of batches differ between ranks
        self._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.named_buffers() if not name.endswith((*AVERAGED_BUFFERS, "num_batches_tracked"))
        ]
        # a term's own weights see the global batch, so that their gradients are the same everywhere
        self._ddp_params_and_buffers_to_ignore += [f"loss.terms.{name}" for name, _ in loss.terms.named_parameters()]

    def configure_model(self) -> None:
        """Keep a shard of student and teacher on each rank, once, where the strategy asks for it (``trainer=fsdp``)."""
        mesh = self.device_mesh
        if mesh is None or is_sharded(self.student):
            return
        if self.regularizers.needs_all_weights:
            raise ValueError(
                f"trainer=fsdp: a regularizer among {', '.join(self.regularizers.terms)} is of all weights, of which "
                "no rank has more than its shard; choose trainer=ddp"
            )
        if any(True for _ in self.loss.terms.parameters()):
            raise ValueError(
                f"trainer=fsdp: a term among {', '.join(self.loss.terms)} has weights of its own, which are not "
                "sharded; choose trainer=ddp"
            )
        shard(self.student, mesh)
        if isinstance(self.teacher, AveragedTeacher):
            averaged: Any = self.teacher.module
            shard(averaged, mesh, trained=False)
            self.teacher.shard_compensations()

    # -- training ---------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Loss of the global batch, of which ``batch`` is this rank's share.

        Returns:
            ``loss``, and for callbacks, without gradient: ``features``, :class:`LossInputs` of the global batch, and
            ``terms``, what the loss is made of by name.
        """
        texts = batch.texts if self.loss.needs_texts or self.regularizers.needs_texts else None
        student = self._features(self.student, batch, texts)
        teacher = anchors = None
        distill = self.loss.distills(self.global_step)
        if distill:
            with torch.no_grad():
                teacher = self._features(self.teacher, batch, texts)
            if self.loss.anchors is not None:
                averaged: Any = self.teacher.module
                anchors = self.loss.anchors(averaged.encode_text, teacher, self.global_step).to(teacher.image.dtype)
        with torch.autocast(self.device.type, enabled=False):
            logits = self.student.classify(student.image) if self.loss.needs_head else None
            inputs = LossInputs(student, teacher, gather(batch.labels), logits, anchors)
            distance, terms = self.loss(inputs, distill=distill)
            penalty, penalties = self.regularizers(self.student, inputs)
        total: Tensor = distance + penalty
        self._unreadable += len(batch.unreadable)
        self.log("train/loss/total", total.detach())
        parts = {name: value.detach() for name, value in {**terms, **penalties}.items()}
        self.log_dict({f"train/loss/{name}": value for name, value in parts.items()})
        self.log("train/logit_scale", student.logit_scale.detach())
        detached = inputs._replace(student=ClipFeatures(*(x.detach() for x in student)), logits=None)
        return {"loss": total, "features": detached, "terms": parts}

    def _features(self, model: Any, batch: Batch, texts: Tensor | None) -> ClipFeatures:
        """What student or teacher make of the global batch; a caption that repeats is encoded once."""
        found: ClipFeatures = model(batch.images, texts)
        if texts is not None and batch.text_of is not None:
            found = found._replace(text=found.text[batch.text_of])
        return gather_features(found)

    def on_train_epoch_start(self) -> None:
        """Count anew."""
        self._unreadable = 0

    def on_train_epoch_end(self) -> None:
        """Log how many pictures could not be read: here, because a number logged at a step is copied to the device."""
        self.log("train/unreadable", float(self._unreadable), reduce_fx="sum", sync_dist=True)

    def trained(self) -> dict[str, Parameter]:
        """What the optimizer moves, by name: of the student, and of terms that have weights of their own."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, and its schedule over all steps of the run."""
        optimizer = self.optimizer(iter(self.trained().values()))
        self.total_steps = planned_steps(self.trainer)
        scheduler = self.scheduler(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Refuse a continuation of another length; sharded runs are restored after the optimizer was made."""
        if self._restored_steps is not None:
            check_horizon(planned_steps(self.trainer), self._restored_steps)
            self._restored_steps = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the length of the run, which its schedule was made for, and the teacher's clock."""
        checkpoint["total_steps"] = self.total_steps
        if isinstance(self.teacher, AveragedTeacher):
            checkpoint["teacher_clock"] = self.teacher.get_extra_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the length that a continuation must have; of shards, restore the clock, which Lightning omits."""
        self._restored_steps = checkpoint["total_steps"]
        if is_sharded(self.student) and isinstance(self.teacher, AveragedTeacher):
            self.teacher.set_extra_state(checkpoint["teacher_clock"])

    # -- evaluation -------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Start with the student."""
        self.validation.start({"student": widened(self.student)})

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch of the ID split."""
        self.validation.update(batch, 0)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/<set>/<metric>``."""
        self._log_scores("val", self.validation.finish()["student"])

    def on_test_epoch_start(self) -> None:
        """Start with the student and, once a run has begun, the teacher (they are equal before)."""
        models: dict[str, Any] = {"student": widened(self.student)}
        if isinstance(self.teacher, AveragedTeacher) and self.teacher.total_steps is not None:
            models["teacher"] = widened(self.teacher.module)
        self.test.start(models, zero_shot=not self.tests_heads)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count a batch of one data set of the suite."""
        self.test.update(batch, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log ``test/<set>/<metric>`` of the student and ``test/teacher/<set>/<metric>``; keep the results."""
        self.results, self.details = self.test.finish(), self.test.details
        for model, scores in self.results.items():
            self._log_scores("test" if model == "student" else f"test/{model}", scores)

    def _log_scores(self, stage: str, scores: Scores) -> None:
        for data_set, values in scores.items():
            for metric, value in values.items():
                if isinstance(value, float):
                    self.log(f"{stage}/{data_set}/{metric}", value, sync_dist=True)
