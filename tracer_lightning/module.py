"""The LightningModule, with the only training step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.optim import Optimizer

from tracer_lightning.evaluation import Suite
from tracer_lightning.functional.steps import check_horizon, planned_steps
from tracer_lightning.functional.widening import widened
from tracer_lightning.functional.wording import counted
from tracer_lightning.losses import WeightedSum
from tracer_lightning.models import Model
from tracer_lightning.models.sharding import is_sharded, shard
from tracer_lightning.scores import Details, Scores
from tracer_lightning.teachers import AveragedTeacher, Teacher
from tracer_lightning.teachers.averaged import AVERAGED_BUFFERS
from tracer_lightning.types import LossInputs


class TracerModule(pl.LightningModule):
    """Student, teacher and losses; methods and families of models differ only in what is given here.

    Args:
        student: the model to train.
        teacher: made from ``student``; :class:`tracer_lightning.callbacks.TeacherUpdate` updates it.
        loss: task loss and distillation terms, of the features of the global batch.
        regularizers: terms of the student's weights, and perhaps of the features.
        optimizer: trained parameters to optimizer.
        scheduler: optimizer and total optimizer steps to scheduler, stepped once per optimizer step.
        validation: evaluation of the split watched during training.
        test: the evaluation suite.
        anchors: makes the anchors that terms read (:class:`tracer_lightning.anchors.base.Anchors`).
    """

    def __init__(
        self,
        student: Model,
        teacher: Teacher,
        loss: WeightedSum,
        regularizers: WeightedSum,
        optimizer: Callable[[Iterable[Parameter]], Optimizer],
        scheduler: Callable[[Optimizer, int], Any],
        validation: Suite,
        test: Suite,
        anchors: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.loss, self.regularizers, self.anchors = loss, regularizers, anchors
        self.optimizer, self.scheduler = optimizer, scheduler
        self.validation, self.test = validation, test
        self.reads: frozenset[str] = loss.reads | regularizers.reads | getattr(anchors, "reads", frozenset())
        """Fields of the features that losses read."""
        self._check()
        self.results: dict[str, Scores] = {}
        """Scores of the last test, by model."""
        self.details: dict[str, dict[str, Details]] = {}
        """Details of the last test's scores, by model and data set."""
        self.total_steps: int | None = None
        """Number of optimizer steps of the run."""
        self.validated_step: int | None = None
        """Number of optimizer steps before the last validation."""
        self.prepared: Mapping[str, Any] = {}
        """Entries of results.json about what was prepared before training, such as an embedder."""
        self.tests_untrained = False
        """Whether tests ignore what was added for the task, such as a head, to score the model as it was before."""
        self._restored_steps: int | None = None
        # DDP would send all buffers before every step, and only statistics of batches differ between ranks
        self._ddp_params_and_buffers_to_ignore = [
            name for name, _ in self.named_buffers() if not name.endswith((*AVERAGED_BUFFERS, "num_batches_tracked"))
        ]
        # a term's own weights see the global batch, so that their gradients are the same everywhere
        self._ddp_params_and_buffers_to_ignore += [f"loss.terms.{name}" for name, _ in loss.terms.named_parameters()]

    def _check(self) -> None:
        """Raise ValueError where model, teacher and losses don't fit together."""
        for terms in (self.loss, self.regularizers):
            terms.check_features(self.student.features)
        if self.loss.with_teacher and self.teacher.module is None:
            raise ValueError(
                f"the terms {', '.join(self.loss.with_teacher)} compare the student with a teacher, but there is none; "
                "add a teacher, or leave these terms out"
            )
        if self.loss.with_anchors and self.anchors is None:
            raise ValueError(
                f"the terms {', '.join(self.loss.with_anchors)} compare images with anchor texts, but there are none; "
                "add anchors, or leave these terms out"
            )
        self.student.check_reads(self.reads)
        is_trained = any(parameter.requires_grad for parameter in self.student.parameters())
        if is_trained and not (self.loss.counting(step=0) or self.regularizers.counting(step=0)):
            raise ValueError(
                "no term has a weight > 0 at the first step, so there is nothing to minimise; raise the weight of one"
            )
        if self.regularizers.with_projections:
            self.student.check_projections()

    def configure_model(self) -> None:
        """Keep a shard of student and teacher on each rank, once, where the strategy shards them (FSDP)."""
        mesh = self.device_mesh
        if mesh is None or is_sharded(self.student):
            return
        if self.regularizers.with_all_weights:
            raise ValueError(
                f"regularizers {', '.join(self.regularizers.with_all_weights)} read all weights, but under FSDP each "
                "rank has only its shard; use DDP instead"
            )
        if any(True for _ in self.loss.terms.parameters()):
            raise ValueError(
                f"a term among {', '.join(self.loss.terms)} has weights of its own, which FSDP can't shard; use DDP "
                "instead"
            )
        shard(self.student, mesh)
        if isinstance(self.teacher, AveragedTeacher):
            averaged: Any = self.teacher.module
            shard(averaged, mesh, trained=False)
            self.teacher.shard_compensations()

    # -- training ---------------------------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Loss of the global batch, of which ``batch`` is this rank's share.

        Models gather the features of all ranks themselves, and CLIP models those of all micro-batches
        (:meth:`tracer_lightning.models.open_clip.clip.ClipModel.forward`).

        Returns:
            ``loss``, and for callbacks, without gradient: ``features``, the :class:`LossInputs`, and ``terms``, each
            part of the loss by name.
        """
        begun = self.student.through_frozen_layers(batch, self.reads)
        student = self.student(begun, self.reads)
        teacher = anchors = None
        distill = self.loss.distills(self.global_step)
        if distill:
            with torch.no_grad():
                # targets, such as labels, are those of the batch and the same for both
                shared = begun if self.teacher.has_same_precision else batch
                teacher = self.teacher(shared, self.reads - self.student.targets)
                if self.anchors is not None:
                    anchors = self.anchors(self.teacher.module, teacher, self.global_step)
        with torch.autocast(self.device.type, enabled=False):
            inputs = LossInputs(student, teacher, anchors)
            distance, terms = self.loss(inputs, distill=distill)
            penalty, penalties = self.regularizers(self.student, inputs)
        total: Tensor = distance + penalty
        self.log("train/loss/total", total.detach())
        parts = {name: value.detach() for name, value in {**terms, **penalties}.items()}
        self.log_dict({f"train/loss/{name}": value for name, value in parts.items()})
        self.log_dict({f"train/{name}": value for name, value in student.logged().items()})
        return {"loss": total, "features": inputs._replace(student=student.detached()), "terms": parts}

    def on_train_epoch_end(self) -> None:
        """Log the data module's counts: here, because a number logged at a step is copied to the device."""
        data = getattr(self.trainer, "datamodule", None)  # a trainer may be given loaders instead
        for name, count in ({} if data is None else data.epoch_counts()).items():
            self.log(f"train/{name}", float(count), reduce_fx="sum", sync_dist=True)

    def trained(self) -> dict[str, Parameter]:
        """Trained parameters by name: the student's, and those of terms with weights of their own."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trained, and its schedule over all steps of the run."""
        optimizer = self.optimizer(iter(self.trained().values()))
        self.total_steps = planned_steps(self.trainer)
        scheduler = self.scheduler(optimizer, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Refuse a continuation of another length, and warn of a run in which nothing is distilled.

        Here, because sharded runs are restored after the optimizer was made.
        """
        if self._restored_steps is not None:
            check_horizon(planned_steps(self.trainer), self._restored_steps)
            self._restored_steps = None
        if self.loss.with_teacher and not self.loss.distills(planned_steps(self.trainer) - 1):
            warnings.warn(
                f"distillation_from={self.loss.distillation_from} in a run of "
                f"{counted(planned_steps(self.trainer), 'step')}: no distillation",
                stacklevel=2,
            )

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
        with self.trainer.precision_plugin.val_step_context():  # as in the steps, for heads made of texts
            self.validation.start({"student": widened(self.student)})

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count a batch of the validation split."""
        self.validation.update(batch, 0)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/<set>/<metric>``."""
        self.validated_step = self.trainer.global_step
        self._log_scores("val", self.validation.finish()["student"])

    def on_test_epoch_start(self) -> None:
        """Start with the student and, once a run has begun, the teacher (they are equal before)."""
        models: dict[str, Any] = {"student": widened(self.student)}
        if isinstance(self.teacher, AveragedTeacher) and self.teacher.total_steps is not None:
            models["teacher"] = widened(self.teacher.module)
        with self.trainer.precision_plugin.test_step_context():  # as in the steps, for heads made of texts
            self.test.start(models, untrained=self.tests_untrained)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
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
