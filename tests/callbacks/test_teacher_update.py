"""The teacher and its callback in a Lightning project that uses nothing else of this package."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from tracer_lightning.callbacks import TeacherUpdate
from tracer_lightning.kernels import UniformKernel
from tracer_lightning.teachers import WMATeacher


class Project(pl.LightningModule):
    def __init__(self, skip=()):
        super().__init__()
        self.student = nn.Linear(4, 1)
        self.teacher = WMATeacher(self.student, UniformKernel())
        self.skip = skip

    def training_step(self, batch, batch_idx):
        return None if batch_idx in self.skip else (self.student(batch) - self.teacher(batch) - 1).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.student.parameters(), lr=0.1)


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.randn(64, 4)


def trainer(tmp_path, callback, **options):
    return pl.Trainer(
        **({"max_epochs": 1} | options),
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        default_root_dir=tmp_path,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_counts_optimizer_steps_not_batches(tmp_path):
    module = Project()
    fitted = trainer(tmp_path, TeacherUpdate(), accumulate_grad_batches=2)
    fitted.fit(module, DataLoader(torch.randn(64, 4), 8))
    assert fitted.global_step == 4
    assert (module.teacher.total_steps, module.teacher.step, module.teacher.updates) == (4, 4, 4)


def test_a_step_without_a_loss_does_not_update_the_teacher(tmp_path):
    """The trainer counts it; the optimizer had nothing to do."""
    module = Project(skip=(0, 3))
    callback = TeacherUpdate()
    fitted = trainer(tmp_path, callback)
    fitted.fit(module, DataLoader(torch.randn(64, 4), 8))
    assert (fitted.global_step, callback.skipped) == (8, 2)
    assert module.teacher.updates == module.teacher.step == 6


def test_the_last_step_is_the_last_one_of_a_run_with_skipped_steps_too(tmp_path):
    module = Project(skip=(0,))
    trainer(tmp_path, TeacherUpdate(every_n_steps=5, at_last=True)).fit(module, DataLoader(torch.randn(64, 4), 8))
    assert (module.teacher.step, module.teacher.updates) == (7, 2)


def test_an_interval_beyond_the_run_causes_a_warning(tmp_path):
    module = Project()
    with pytest.warns(UserWarning, match=r"every_n_steps=500 of TeacherUpdate in a run of 8 steps: no teacher updates"):
        trainer(tmp_path, TeacherUpdate(every_n_steps=500)).fit(module, DataLoader(torch.randn(64, 4), 8))


def test_updates_every_n_steps(tmp_path):
    module = Project()
    trainer(tmp_path, TeacherUpdate(every_n_steps=3)).fit(module, DataLoader(torch.randn(64, 4), 8))
    assert (module.teacher.step, module.teacher.updates) == (6, 2)


def test_data_of_unknown_length_need_a_number_of_steps(tmp_path):
    with pytest.raises(ValueError, match=r"number of optimizer steps is unknown .* limit_train_batches"):
        trainer(tmp_path, TeacherUpdate()).fit(Project(), DataLoader(Stream(), 8))
    module = Project()
    trainer(tmp_path, TeacherUpdate(total_steps=8)).fit(module, DataLoader(Stream(), 8))
    assert module.teacher.step == 8
    trainer(tmp_path, TeacherUpdate(), max_steps=5).fit(module, DataLoader(Stream(), 8))
    assert module.teacher.total_steps == 5


def test_invalid_intervals_and_manual_optimization_raise_errors(tmp_path):
    with pytest.raises(ValueError, match="every_n_steps must be >= 1, got 0"):
        TeacherUpdate(every_n_steps=0)
    module = Project()
    module.automatic_optimization = False
    with pytest.raises(ValueError, match="automatic optimization"):
        trainer(tmp_path, TeacherUpdate()).fit(module, DataLoader(torch.randn(8, 4), 8))


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [3, 6]),
        ({"from_first": True}, [1, 4, 7]),
        ({"at_last": True}, [3, 6, 8]),
        ({"from_first": True, "at_last": True}, [1, 4, 7, 8]),
    ],
)
def test_steps_after_which_it_updates(tmp_path, options, steps):
    module, seen = Project(), []
    update = module.teacher.update
    module.teacher.update = lambda student, step: (seen.append(step), update(student, step))
    trainer(tmp_path, TeacherUpdate(every_n_steps=3, **options)).fit(module, DataLoader(torch.randn(64, 4), 8))
    assert seen == steps
