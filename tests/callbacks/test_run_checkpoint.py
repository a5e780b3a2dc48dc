"""When checkpoints come into force, and what a signal does."""

import contextlib
import os
import signal
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from tests.comparing import differences
from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.callbacks import RunCheckpoint
from tracer_lightning.engine.signals import SIGNALS, Stopped
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO

STEPS = 6


class At(pl.Callback):
    """Do something in a hook of a step."""

    def __init__(self, hook, step, action):
        def act(trainer, *_):
            if trainer.global_step == step:
                action()

        setattr(self, hook, act)


def fit(path, *callbacks, checkpoint=None, every=None, **options):
    data = make_data(400)  # 1,078 samples: 2 steps an epoch
    module = make_module(data)
    path.mkdir(exist_ok=True)
    callbacks = [*callbacks, RunCheckpoint(str(path), every)]
    trainer = make_trainer(path, STEPS, callbacks, plugins=[AtomicCheckpointIO()], enable_checkpointing=True, **options)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer


def load(path, name="last.ckpt"):
    return torch.load(path / name, weights_only=True)


def step_of(path, name="last.ckpt"):
    return load(path, name)["global_step"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken")
    fit(path)
    return load(path)


def assert_same_end(path, unbroken):
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "DigitsDataModule", "epoch", "global_step"):
        assert not differences(unbroken[part], load(path)[part], part)


def test_the_last_two_checkpoints_are_kept(tmp_path):
    fit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert (step_of(tmp_path), step_of(tmp_path, "previous.ckpt")) == (6, 4)


class Killed(BaseException):
    """Stands for a kill."""


def die():
    raise Killed


@pytest.mark.parametrize(
    ("hook", "step", "in_force"),
    [
        pytest.param("on_train_epoch_end", 4, 3, marks=pytest.mark.slow),
        ("on_before_zero_grad", 3, 3),
        pytest.param("on_train_batch_end", 5, 4, marks=pytest.mark.slow),
        pytest.param("on_before_zero_grad", 4, 4, marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_is_promoted_after_its_step_is_logged(tmp_path, unbroken, hook, step, in_force):
    with pytest.raises(Killed):
        fit(tmp_path, At(hook, step, die), every=1)
    assert step_of(tmp_path) == in_force
    fit(tmp_path, checkpoint=tmp_path / "last.ckpt")
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize(
    ("length", "validation"),
    [
        ({}, None),
        pytest.param({}, 0, marks=pytest.mark.slow),
        pytest.param({"max_steps": -1, "max_epochs": 3}, None, marks=pytest.mark.slow),
    ],
)
def test_runs_resume_exactly_from_the_end_of_an_epoch(tmp_path, length, validation):
    """However the length of the run is given, and whether it is validated."""
    options = {**length, "limit_val_batches": validation}
    fit(tmp_path / "whole", **options)
    with pytest.raises(Killed):
        fit(tmp_path / "broken", At("on_before_zero_grad", 2, die), **options)
    assert step_of(tmp_path / "broken") == 2
    fit(tmp_path / "broken", checkpoint=tmp_path / "broken/last.ckpt", **options)
    assert_same_end(tmp_path / "broken", load(tmp_path / "whole"))


@pytest.mark.slow
def test_steps_are_counted_correctly_over_several_resumptions(tmp_path):
    """After an epoch's last step, and then within the next epoch."""
    logged, checkpoint = [], None

    class Steps(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            logged.append((trainer.global_step, trainer.fit_loop.epoch_loop._batches_that_stepped + 1))

    for at in (2, 3, 5, None):
        kill = [] if at is None else [At("on_before_zero_grad", at, die)]
        with contextlib.suppress(Killed):
            fit(tmp_path, Steps(), *kill, checkpoint=checkpoint, every=1, max_steps=-1, max_epochs=3)
        checkpoint = tmp_path / "last.ckpt"
    assert logged == [(step, step) for step in range(1, STEPS + 1)]


@pytest.mark.slow
def test_a_damaged_checkpoint_does_not_replace_the_previous_one(tmp_path, unbroken):
    with pytest.raises(Killed):
        fit(tmp_path, At("on_before_zero_grad", 4, die), every=1)
    (tmp_path / "last.ckpt").write_bytes(b"half")
    with pytest.raises(Killed):
        fit(tmp_path, At("on_before_zero_grad", 4, die), checkpoint=tmp_path / "previous.ckpt", every=1)
    assert (step_of(tmp_path), step_of(tmp_path, "previous.ckpt")) == (4, 3)
    fit(tmp_path, checkpoint=tmp_path / "last.ckpt")
    assert_same_end(tmp_path, unbroken)


send = partial(os.kill, os.getpid())


@pytest.mark.parametrize(
    ("hook", "step", "saved", "signum"),
    [
        ("on_before_backward", 2, 3, signal.SIGTERM),
        pytest.param("on_train_epoch_end", 4, 4, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("on_before_backward", 2, 3, signal.SIGUSR1, marks=pytest.mark.slow),
        pytest.param("on_before_backward", 2, 3, signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_stops_at_the_end_of_the_step(tmp_path, unbroken, signum, hook, step, saved):
    with SIGNALS, pytest.raises(Stopped) as stop:
        fit(tmp_path, At(hook, step, partial(send, signum)))
    assert stop.value.code == 128 + signum
    assert step_of(tmp_path) in (saved, saved + 1)
    fit(tmp_path, checkpoint=tmp_path / "last.ckpt")
    assert_same_end(tmp_path, unbroken)


@pytest.mark.slow
def test_a_signal_in_the_last_step_keeps_the_final_checkpoint(tmp_path, unbroken):
    with SIGNALS, pytest.raises(Stopped):
        fit(tmp_path, At("on_before_backward", 5, partial(send, signal.SIGTERM)))
    assert_same_end(tmp_path, unbroken)


@pytest.mark.slow
def test_a_signal_between_accumulated_batches_waits_for_their_step(tmp_path):
    options = {"accumulate_grad_batches": 2}
    complete, broken = tmp_path / "whole", tmp_path / "broken"
    fit(complete, **options)
    with SIGNALS, pytest.raises(Stopped):
        fit(broken, At("on_train_batch_start", 3, partial(send, signal.SIGTERM)), **options)
    fit(broken, checkpoint=broken / "last.ckpt", **options)
    assert_same_end(broken, load(complete))


def test_last_good_without_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="every_n_train_steps must be >= 1 or None, got 0"):
        RunCheckpoint(str(tmp_path), 0)
    assert RunCheckpoint(str(tmp_path)).last_good == "there is no checkpoint yet"
