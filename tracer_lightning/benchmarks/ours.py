"""Training steps of the application, as Lightning runs them, with their times."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch

from tracer_lightning.benchmarks.reference import DECAY, LEARNING_RATE, WEIGHTS
from tracer_lightning.callbacks import TeacherStatistics, TeacherUpdate
from tracer_lightning.evaluation import ClassificationSuite
from tracer_lightning.functional.optimizers import AdamW
from tracer_lightning.functional.schedules import constant
from tracer_lightning.functional.text import trim_tokens, unique_captions
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.losses import (
    ContrastiveRelationalDistillation,
    CrossFrobenius,
    CrossKnowledgeDistillation,
    FeatureDistillation,
    InfoNCE,
    InteractiveContrastiveLearning,
    LossTerm,
    WeightedSum,
)
from tracer_lightning.models import ClipModel
from tracer_lightning.module import TracerModule
from tracer_lightning.teachers import NoTeacher, WMATeacher
from tracer_lightning.teachers.averaged import Precision
from tracer_lightning.types import Batch

STATISTICS_EVERY = 50


def now() -> float:
    """Current time in seconds, after all work on the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class StepTimer(pl.Callback):
    """Measures the seconds between the ends of steps, which include all work of Lightning and the callbacks.

    It must be the last callback.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        """Record the end of a step."""
        self.ends.append(now())

    @property
    def seconds(self) -> list[float]:
        """Seconds of each step but the first, which allocates the optimizer's state."""
        return [end - start for start, end in itertools.pairwise(self.ends)]


def _suites(context_length: int) -> tuple[ClassificationSuite, ClassificationSuite]:
    first, second = (ClassificationSuite([], torch.zeros(1, 1, context_length, dtype=torch.long)) for _ in range(2))
    return first, second


def flyp(model: ClipModel) -> TracerModule:
    """Build the module of FLYP."""
    loss = WeightedSum({"info_nce": InfoNCE()}, {"info_nce": 1.0})
    return _module(model, NoTeacher(model), loss, WeightedSum({}, {}))


def tracer(model: ClipModel, precision: Precision = "same") -> TracerModule:
    """Build the module of TRACER with the weights of the released ViT-B/16 run."""
    terms: dict[str, LossTerm] = {
        "info_nce": InfoNCE(),
        "fd": FeatureDistillation(),
        "crd": ContrastiveRelationalDistillation(),
        "icl": InteractiveContrastiveLearning(),
        "cross_kd": CrossKnowledgeDistillation(),
    }
    regularizers = WeightedSum({"cross_frobenius": CrossFrobenius()}, {"cross_frobenius": 0.05})
    loss = WeightedSum(terms, {"info_nce": 1.0, **WEIGHTS})
    return _module(model, WMATeacher(model, BetaKernel(0.5), precision=precision), loss, regularizers)


def _module(model: ClipModel, teacher: Any, loss: WeightedSum, regularizers: WeightedSum) -> TracerModule:
    optimizer = partial(AdamW, lr=LEARNING_RATE, weight_decay=DECAY)
    return TracerModule(model, teacher, loss, regularizers, optimizer, constant, *_suites(model.context_length))


def compile_in_place(module: TracerModule) -> None:
    """Compile student and teacher."""
    for model in (module.student, module.teacher.module):
        if model is not None:
            model.compile()


def collate(batch: Batch, trim: bool = True, deduplicate: bool = True) -> Batch:
    """Collate like the data module: trim captions to the longest and deduplicate them."""
    texts, text_of = trim_tokens(batch.texts) if trim else batch.texts, None
    if deduplicate:
        texts, text_of = unique_captions(texts)
    return batch._replace(texts=texts, text_of=text_of)


def step_seconds(
    module: TracerModule, batches: Sequence[Batch], accelerator: str, precision: str, every: int = 1
) -> list[float]:
    """Train on batches with the callbacks of a run and return the seconds of all steps but the first.

    Args:
        module: the module to train.
        batches: collated batches, one for each step.
        accelerator: ``cpu`` or ``gpu``.
        precision: as for Lightning's trainer.
        every: number of steps between updates of the teacher.
    """
    timer = StepTimer()
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        max_steps=len(batches),
        callbacks=[TeacherUpdate(every), TeacherStatistics(STATISTICS_EVERY), timer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, loader)
    module.zero_grad()
    module._trainer = None
    del trainer
    gc.collect()  # the optimizer's state is in reference cycles, and the next candidate needs the memory
    return timer.seconds
