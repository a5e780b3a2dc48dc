"""A training step asks for no number that is on the device: on a GPU it would wait for all that was queued before."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.callbacks import TeacherStatistics
from tracer_lightning.functional.optimizers import FusedAdamW

STEPS = 6


class Watched(TeacherStatistics):
    """Statistics whose interval is not reached; it records what is computed from the third step on."""

    def __init__(self):
        super().__init__(every_n_steps=100)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 2:
            self.recorded = profile(activities=[ProfilerActivity.CPU])
            self.recorded.start()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if batch_idx == STEPS - 2:
            self.recorded.stop()


def waits(tmp_path, module):
    watched = Watched()
    trainer = make_trainer(tmp_path, STEPS, [watched], log_every_n_steps=100)
    trainer.fit(module, datamodule=make_data())
    counts = {event.key: event.count for event in watched.recorded.key_averages()}
    assert counts["aten::_foreach_lerp_"] == STEPS - 3  # the steps are what was recorded
    return counts.get("aten::_local_scalar_dense", 0)


def fused(module):
    module.optimizer = lambda parameters: FusedAdamW(parameters, lr=1e-3)
    return module


def test_a_step_of_tracer_never_waits(tmp_path):
    assert waits(tmp_path, fused(make_module(make_data()))) == 0


@pytest.mark.parametrize("ask", ["item", "tolist", "__bool__", "__float__"])
def test_it_would_be_seen(tmp_path, ask):
    module = fused(make_module(make_data()))
    penalty = module.regularizers.forward

    def asking(*args):
        total, terms = penalty(*args)
        getattr(total.detach() if ask != "tolist" else total.detach()[None], ask)()
        return total, terms

    module.regularizers.forward = asking
    assert waits(tmp_path, module) == STEPS - 3
