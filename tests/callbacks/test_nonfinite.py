"""Losses that are no numbers, and steps that are skipped."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader

from tests.callbacks.test_run_checkpoint import At, Killed, die
from tracer_lightning.callbacks import NonFinite, NonFiniteError, RunCheckpoint, TeacherUpdate
from tracer_lightning.kernels import UniformKernel
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO
from tracer_lightning.teachers import WMATeacher

BATCHES = 8


class Project(pl.LightningModule):
    """Its loss is not finite in some batches, or its gradient is not."""

    def __init__(self, bad=(), exploding=(), scaled=()):
        super().__init__()
        torch.manual_seed(0)
        self.student = nn.Linear(4, 1)
        self.teacher = WMATeacher(self.student, UniformKernel())
        self.bad, self.exploding, self.scaled = bad, exploding, scaled
        self.path = []

    def training_step(self, batch, batch_idx):
        distance = (self.student(batch) - 1).square().mean()
        penalty = self.student.weight.square().sum()
        if batch_idx in self.bad:
            penalty = penalty * float("nan")
        if batch_idx in self.exploding:
            penalty = penalty + (self.student.weight * 0).square().sum().sqrt()  # 0, with a gradient of 0 / 0
        if batch_idx in self.scaled:
            distance = distance.float() * 1e36  # finite; not once a scaler has multiplied it
        total = distance + penalty
        return {"loss": total, "terms": {"distance": distance.detach(), "penalty": penalty.detach()}}

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.student.parameters(), lr=0.1)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer), "interval": "step"},
        }

    def on_train_batch_end(self, *_):
        self.path.append((self.student.weight.detach().clone(), self.teacher.module.weight.clone(), self.teacher.step))


def fit(tmp_path, module, *callbacks, every=1, checkpoint=None, plugins=(), **options):
    options = {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1} | options
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        callbacks=[TeacherUpdate(), *callbacks, RunCheckpoint(str(tmp_path), every)],
        plugins=[AtomicCheckpointIO(), *plugins],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    torch.manual_seed(1)
    trainer.fit(module, DataLoader(torch.randn(8 * BATCHES, 4), 8), ckpt_path=checkpoint, weights_only=True)
    return trainer


def weights(tmp_path):
    return torch.load(tmp_path / "last.ckpt", weights_only=True)


def test_the_run_ends_and_names_step_terms_and_checkpoint(tmp_path):
    with pytest.raises(NonFiniteError) as error:
        fit(tmp_path, Project(bad=[4]), NonFinite("stop", 0))
    assert str(error.value).startswith(
        f"step 5: the loss is not finite (penalty); the last good checkpoint is {tmp_path}/last.ckpt, of step 4; "
    )
    saved = weights(tmp_path)
    assert saved["global_step"] == 4
    assert all(value.isfinite().all() for value in saved["state_dict"].values() if isinstance(value, torch.Tensor))


def test_late_checks_name_the_first_bad_step_and_save_no_bad_weights(tmp_path, monkeypatch):
    """As on a GPU, where only logging steps and checkpoints wait for the device."""
    monkeypatch.setattr(Project, "device", torch.device("cuda"))
    with pytest.raises(NonFiniteError, match=r"step 3: the loss is not finite \(penalty\); .*, of step 2;"):
        fit(tmp_path, Project(bad=[2]), NonFinite("stop", 0), every=2, log_every_n_steps=100)
    assert weights(tmp_path)["global_step"] == 2


def test_weights_that_are_not_finite_never_replace_good_ones(tmp_path, monkeypatch):
    """The loss of step 4 is finite; its gradient is not."""
    with pytest.raises(NonFiniteError, match=r"step 4: the weights are not finite; .*last.ckpt, of step 3;"):
        fit(tmp_path, Project(exploding=[3]), NonFinite("stop", 0))
    assert weights(tmp_path)["global_step"] == 3


def test_skipped_steps_change_only_the_schedule(tmp_path):
    module, callback = Project(bad=[2, 5]), NonFinite("skip", 2)
    with pytest.warns(UserWarning, match=r"step 3: the loss is not finite \(penalty\); skipped, 1 of at most 2"):
        trainer = fit(tmp_path, module, callback)
    assert (trainer.global_step, callback.skipped) == (BATCHES, 2)
    assert (module.teacher.step, module.teacher.updates) == (BATCHES - 2, BATCHES - 2)
    for skipped in (2, 5):
        for before, after in zip(module.path[skipped - 1], module.path[skipped], strict=True):
            assert torch.equal(torch.as_tensor(before), torch.as_tensor(after))
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == BATCHES
    state = trainer.optimizers[0].state[module.student.weight]
    assert state["step"] == BATCHES - 2
    assert module.student.weight.isfinite().all()


def test_skipped_steps_are_limited_and_counted_across_resumptions(tmp_path):
    with pytest.warns(UserWarning, match="skipped, 1 of at most 1"), pytest.raises(Killed):
        fit(tmp_path, Project(bad=[1]), NonFinite("skip", 1), At("on_before_zero_grad", 4, die))
    again = Project(bad=[6])
    with pytest.raises(NonFiniteError, match=r"step 7: the loss is not finite \(penalty\), after 1 skipped steps"):
        fit(tmp_path, again, NonFinite("skip", 1), checkpoint=tmp_path / "last.ckpt")
    assert again.teacher.step == 5


def test_accumulated_batches_are_skipped_together(tmp_path):
    module, callback = Project(bad=[2]), NonFinite("skip", 1)
    with pytest.warns(UserWarning, match=r"step 2: .*; skipped, 1 of at most 1"):
        fit(tmp_path, module, callback, accumulate_grad_batches=2)
    assert (module.teacher.step, callback.skipped) == (3, 1)
    assert module.student.weight.isfinite().all()


def test_a_bad_batch_before_the_last_one_of_its_step_is_named_by_that_step(tmp_path):
    with pytest.raises(NonFiniteError, match=r"step 3: the loss is not finite \(penalty\); .*, of step 2;"):
        fit(tmp_path, Project(bad=[4]), NonFinite("stop", 0), accumulate_grad_batches=2)


class Normalised(Project):
    """Infinite activations in some batches poison BatchNorm's statistics."""

    def __init__(self, poisoned, hidden=False):
        super().__init__()
        self.student = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
        self.teacher = WMATeacher(self.student, UniformKernel())
        self.poisoned, self.hidden = poisoned, hidden

    def training_step(self, batch, batch_idx):
        poisoned = batch_idx in self.poisoned
        result = self.student(batch * float("inf") if poisoned else batch)
        loss = (self.student[1].weight if poisoned and self.hidden else result).square().mean()
        return {"loss": loss, "terms": {}}

    def on_train_batch_end(self, *_):
        self.path.append(self.student[0].running_mean.clone())


def test_a_skipped_step_keeps_batch_norm_statistics(tmp_path):
    module, callback = Normalised([2]), NonFinite("skip", 1)
    with pytest.warns(UserWarning, match="skipped, 1 of at most 1"):
        fit(tmp_path, module, callback)
    assert torch.equal(module.path[1], module.path[2])
    assert not torch.equal(module.path[2], module.path[3])
    assert module.student[0].running_var.isfinite().all()


def test_statistics_that_are_not_finite_are_never_saved(tmp_path):
    """Their loss is: BatchNorm does not look at them in training."""
    with pytest.raises(NonFiniteError, match=r"step 3: the weights are not finite; .*last.ckpt, of step 2;"):
        fit(tmp_path, Normalised([2], hidden=True), NonFinite("stop", 0))


def half():
    """16-mixed, really, on the CPU; Lightning would take bf16 there."""
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))


def test_steps_skipped_by_a_gradient_scaler_do_not_count(tmp_path):
    """The trainer counts the step, the teacher does not."""
    module = Project(scaled=[2, 3])
    trainer = fit(tmp_path, module, NonFinite("stop", 0), plugins=[half()])
    assert trainer.precision_plugin.scaler.get_scale() == 256.0 / 4  # halved at each of the two
    assert trainer.global_step == BATCHES
    assert (module.teacher.step, module.teacher.updates) == (BATCHES - 2, BATCHES - 2)
    assert torch.equal(module.path[1][0], module.path[3][0])
    assert torch.equal(module.path[1][1], module.path[3][1])


def test_the_number_of_skipped_steps_is_restored(tmp_path):
    complete, resumed = Project(scaled=[2]), Project(scaled=[2])
    fit(tmp_path / "whole", complete, NonFinite("stop", 0), plugins=[half()])
    with pytest.raises(Killed):
        fit(tmp_path, Project(scaled=[2]), NonFinite("stop", 0), At("on_before_zero_grad", 5, die), plugins=[half()])
    fit(tmp_path, resumed, NonFinite("stop", 0), checkpoint=tmp_path / "last.ckpt", plugins=[half()])
    assert complete.teacher.step == resumed.teacher.step == BATCHES - 1
    assert complete.path[-1][2] == resumed.path[-1][2]


@pytest.mark.parametrize(
    ("action", "most", "message"),
    [("ignore", 1, "action must be one of stop, skip"), ("skip", -1, "max_skipped must be an integer >= 0")],
)
def test_invalid_arguments_raise_errors(action, most, message):
    with pytest.raises(ValueError, match=message):
        NonFinite(action, most)
