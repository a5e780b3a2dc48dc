"""A training step asks for no number that is on the device: on a GPU it would wait for all that was queued before."""

import itertools

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.callbacks import TeacherStatistics

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
    watched, data = Watched(), make_data()
    trainer = make_trainer(tmp_path, STEPS, [watched], log_every_n_steps=100)
    batches = itertools.islice(data.train_dataloader(), STEPS)
    ready = [data.on_after_batch_transfer(batch, 0) for batch in batches]  # by workers, in a run
    trainer.fit(module, torch.utils.data.DataLoader(ready, batch_size=None))
    counts = {event.key: event.count for event in watched.recorded.key_averages()}
    assert counts["aten::_foreach_lerp_"] == STEPS - 3  # the steps are what was recorded
    return counts.get("aten::_local_scalar_dense", 0)


def module_to_train():
    """With SGD: AdamW on a CPU reads its counts of steps, which it does not on a GPU."""
    module = make_module(make_data())
    module.optimizer = lambda parameters: torch.optim.SGD(parameters, lr=1e-3)
    return module


@pytest.mark.slow
def test_a_step_of_tracer_never_waits(tmp_path):
    assert waits(tmp_path, module_to_train()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("ask", ["item", "__bool__", "__float__"])
def test_it_would_be_seen(tmp_path, ask):
    module = module_to_train()
    penalty = module.regularizers.forward

    def asking(*args):
        total, terms = penalty(*args)
        getattr(total.detach(), ask)()
        return total, terms

    module.regularizers.forward = asking
    assert waits(tmp_path, module) == STEPS - 3
