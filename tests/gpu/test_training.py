"""A training step of the real module on a GPU."""

import lightning.pytorch as pl
import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks.ours import tracer
from tracer_lightning.benchmarks.step import random_batches
from tracer_lightning.callbacks import TeacherStatistics, TeacherUpdate
from tracer_lightning.kernels import BetaKernel
from tracer_lightning.teachers import WMATeacher

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
FIRST = 3
"""Steps before warm up: the optimizer's state, plans of kernels."""


class NoWaiting(pl.Callback):
    """Makes every wait of the host for the device an error: from the step's beginning to the teacher's update.

    It must be the last callback.
    """

    def __init__(self, every):
        self.every, self.guarded = every, 0

    def on_train_batch_start(self, trainer, *args):
        step = trainer.global_step + 1
        if step > FIRST and step % self.every:
            self.guarded += 1
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, *args):
        torch.cuda.set_sync_debug_mode("default")


class Waits(pl.Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        pl_module.student.logit_scale.item()


def train(steps, callbacks, precision="bf16-mixed"):
    backbone = tiny_backbone()
    batches = random_batches(backbone.spec, 8, steps, "cpu")
    trainer = pl.Trainer(
        accelerator="gpu",
        devices=1,
        precision=precision,
        max_steps=steps,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    module = tracer(backbone.model)
    try:
        trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return module


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_without_statistics_never_waits_for_the_device(precision):
    guard = NoWaiting(every=5)
    module = train(10, [TeacherUpdate(), TeacherStatistics(5), guard], precision)
    assert guard.guarded == 10 - FIRST - 2
    assert module.teacher.updates == 10


def test_a_wait_would_be_seen():
    with pytest.raises(RuntimeError, match="synchronizing"):
        train(FIRST + 1, [TeacherUpdate(), Waits(), NoWaiting(every=100)])


def test_the_teacher_is_that_of_the_processor():
    teachers = {}
    for device in ("cpu", "cuda"):
        student, generator = tiny_backbone().model.to(device), torch.Generator().manual_seed(0)
        teacher = WMATeacher(student, BetaKernel(0.5), total_steps=20)
        for _ in range(20):
            for parameter in student.parameters():
                parameter.data += 0.01 * torch.randn(parameter.shape, generator=generator).to(device)
            teacher.update(student)
        teachers[device] = {name: value.cpu() for name, value in teacher.module.named_parameters()}
    for name, value in teachers["cpu"].items():
        torch.testing.assert_close(teachers["cuda"][name], value, rtol=1e-5, atol=1e-6)
