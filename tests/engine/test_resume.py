"""Continuing a run ends where an unbroken one ends, to the last bit."""

import pytest
import torch

from tests.comparing import differences
from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.teachers import NoTeacher

STEPS = 6


def run(tmp_path, checkpoint=None, steps=STEPS, batch_size=400, **options):
    data = make_data(batch_size)  # 1,078 samples: 2 steps an epoch
    module = make_module(data)
    trainer = make_trainer(tmp_path, steps, checkpoint_every=1, **options)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer, module


def last_state(tmp_path, step=STEPS):
    return torch.load(tmp_path / f"step={step}.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    path = tmp_path_factory.mktemp("unbroken")
    run(path)
    return path


@pytest.mark.parametrize("at", [pytest.param(n, marks=[pytest.mark.slow] * (n != 2)) for n in range(1, STEPS)])
def test_any_step_is_a_place_to_continue_from(tmp_path, unbroken, at):
    """Steps 1, 3 and 5 lie within an epoch, 2 and 4 at its end."""
    run(tmp_path, unbroken / f"step={at}.ckpt")
    whole, resumed = last_state(unbroken), last_state(tmp_path)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "DigitsDataModule", "epoch", "global_step"):
        assert not differences(whole[part], resumed[part], part)
    clock = resumed["state_dict"]["teacher._extra_state"]
    assert (clock["step"], clock["updates"], clock["total_steps"]) == (STEPS, STEPS, STEPS)


@pytest.mark.slow
def test_accumulated_steps_continue_exactly(tmp_path, unbroken):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(whole, accumulate_grad_batches=2, batch_size=200)
    run(resumed, whole / "step=3.ckpt", accumulate_grad_batches=2, batch_size=200)
    unbroken_state, resumed_state = last_state(whole), last_state(resumed)
    for part in ("state_dict", "optimizer_states", "DigitsDataModule"):
        assert not differences(unbroken_state[part], resumed_state[part], part)


def test_another_horizon_is_refused(tmp_path, unbroken):
    with pytest.raises(ValueError, match="8 optimizer steps and the checkpoint was made for 6"):
        run(tmp_path, unbroken / "step=3.ckpt", steps=8)


def test_another_horizon_is_refused_without_a_teacher(tmp_path):
    """The schedule was made for it, too."""
    data = make_data(400)
    module = make_module(data, teacher=NoTeacher, terms=("info_nce",))
    make_trainer(tmp_path, 4, checkpoint_every=2).fit(module, datamodule=data)
    again = make_module(data, teacher=NoTeacher, terms=("info_nce",))
    with pytest.raises(ValueError, match="8 optimizer steps and the checkpoint was made for 4"):
        make_trainer(tmp_path, 8).fit(
            again, datamodule=make_data(400), ckpt_path=tmp_path / "step=2.ckpt", weights_only=True
        )


def test_checkpoints_hold_plain_values_only(unbroken):
    state = last_state(unbroken)["state_dict"]
    assert state["teacher._extra_state"]["weight_sum"] > 0
    assert any(name.startswith("teacher.module.") for name in state)
