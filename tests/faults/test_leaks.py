"""Memory, file descriptors and processes after many steps, and after runs that end well or badly."""

import gc
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from tests.faults.processes import children
from tests.training_helpers import make_data, make_module, make_trainer
from tracer_lightning.callbacks import NonFinite, RunCheckpoint
from tracer_lightning.storage.checkpoints import AtomicCheckpointIO

WARM = 400


def resident():
    """MiB of this process."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


class Memory(pl.Callback):
    def __init__(self):
        self.seen = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step % 200 == 0:
            gc.collect()
            self.seen[trainer.global_step] = resident()


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "growth"), [(1000, 6), pytest.param(4000, 16, marks=pytest.mark.exhaustive)])
def test_later_steps_need_no_more_memory_than_four_hundred(tmp_path, steps, growth):
    """It may grow by a few MiB: allocators keep pages."""
    data, memory = make_data(8), Memory()
    callbacks = [memory, NonFinite("stop", 0), RunCheckpoint(str(tmp_path), 500)]
    plugins = [AtomicCheckpointIO()]
    trainer = make_trainer(tmp_path, steps, callbacks, plugins=plugins, enable_checkpointing=True)
    trainer.fit(make_module(data), datamodule=data)
    assert memory.seen[steps] - memory.seen[WARM] < growth, memory.seen


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


class Failing(pl.Callback):
    def on_train_batch_end(self, trainer, *_):
        raise ValueError("on purpose")


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_descriptors_and_workers_are_released(tmp_path, fails):
    """After fit, evaluation and failure; the first round opens what stays open for the life of the process."""
    counts, before = [], children_of_this()  # multiprocessing's own, where other tests began any
    for number in range(3):
        data = make_data(400)
        data.num_workers = 2
        module = make_module(data)
        trainer = make_trainer(tmp_path / str(number), 3, [Failing()] if fails else [], limit_val_batches=None)
        if fails:
            with pytest.raises(ValueError, match="on purpose"):
                trainer.fit(module, datamodule=data)
        else:
            trainer.fit(module, datamodule=data)
            trainer.test(module, datamodule=data, verbose=False)
        del trainer, module, data
        gc.collect()
        counts.append(descriptors())
        assert not [command_of(pid) for pid in children_of_this() if pid not in before]
    assert counts[2] <= counts[1], counts


def children_of_this():
    return children(torch.multiprocessing.current_process().pid)


def command_of(pid):
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_text() if path.exists() else ""
