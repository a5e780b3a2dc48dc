"""Small training runs with the real module, data module and callback."""

from __future__ import annotations

import warnings
from functools import partial

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.conftest import tiny_backbone
from tracer_lightning.callbacks import TeacherUpdate
from tracer_lightning.data import DigitsDataModule
from tracer_lightning.evaluation import ClassificationSuite
from tracer_lightning.functional.schedules import warmup_cosine
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.losses import (
    ContrastiveRelationalDistillation,
    CrossFrobenius,
    CrossKnowledgeDistillation,
    FeatureDistillation,
    InfoNCE,
    InteractiveContrastiveLearning,
    WeightedSum,
)
from tracer_lightning.models import freeze
from tracer_lightning.module import TracerModule
from tracer_lightning.teachers import WMATeacher

warnings.filterwarnings("ignore", message=".*does not have many workers.*")


def make_data(batch_size=32, seed=0, kind=DigitsDataModule):
    return kind(
        tiny_backbone().spec,
        ["spurious"],
        renderings_per_digit=1,
        batch_size=batch_size,
        eval_batch_size=256,
        num_workers=0,
        seed=seed,
        max_bad_fraction=0.0,
    )


def make_module(data, dtype=torch.float32, frozen=(), teacher=None, lr=1e-3, warmup=2, terms=None, model=None):
    model = (model or tiny_backbone().model).to(dtype)
    freeze(model, frozen)
    losses = {
        "info_nce": InfoNCE("same_label"),
        "fd": FeatureDistillation(),
        "crd": ContrastiveRelationalDistillation(),
        "icl": InteractiveContrastiveLearning("same_label"),
        "cross_kd": CrossKnowledgeDistillation(),
    }
    weights = {"info_nce": 1.0, "fd": 3.515625, "crd": 0.45, "icl": 0.9, "cross_kd": 0.9}
    names = terms or tuple(losses)
    prompts = data.prompts()
    return TracerModule(
        student=model,
        teacher=(teacher or partial(WMATeacher, kernel=BetaKernel(0.5)))(model),
        loss=WeightedSum({name: losses[name] for name in names}, {name: weights[name] for name in names}),
        regularizers=WeightedSum({"cross_frobenius": CrossFrobenius()}, {"cross_frobenius": 0.05}),
        optimizer=partial(torch.optim.AdamW, lr=lr, weight_decay=0.1),
        scheduler=partial(warmup_cosine, warmup_steps=warmup),
        validation=ClassificationSuite([data.val_set], prompts),
        test=ClassificationSuite(data.eval_sets, prompts, ("student", "teacher")),
    )


class Losses(pl.Callback):
    """Record the loss of every batch."""

    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.values.append(outputs["loss"].item())


class Trajectory(pl.Callback):
    """Record the trained parameters before training and after every optimizer step, in float64."""

    def __init__(self):
        self.points = []

    def on_train_start(self, trainer, pl_module):
        self.last_step = trainer.global_step
        self._record(pl_module)

    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_step != self.last_step:
            self.last_step = trainer.global_step
            self._record(pl_module)

    def _record(self, pl_module):
        self.points.append(
            {n: p.detach().double().clone() for n, p in pl_module.student.named_parameters() if p.requires_grad}
        )


def make_trainer(tmp_path, steps, callbacks=(), every=1, checkpoint_every=None, **options):
    callbacks = [TeacherUpdate(every_n_steps=every), *callbacks]
    if checkpoint_every:
        callbacks.append(
            ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=checkpoint_every)
        )
    defaults = {"accelerator": "cpu", "max_epochs": -1, "logger": False, "enable_progress_bar": False}
    defaults |= {
        "enable_model_summary": False,
        "enable_checkpointing": bool(checkpoint_every),
        "num_sanity_val_steps": 0,
        "max_steps": steps,
        "limit_val_batches": 0,
    }
    return pl.Trainer(
        default_root_dir=tmp_path,
        callbacks=callbacks,
        use_distributed_sampler=False,
        **(defaults | options),
    )
