"""Runs on pairs that are killed in the middle of an epoch continue to the last bit."""

import os
import signal

import lightning.pytorch as pl
import pytest
import torch

from tests.commands.helpers import composed, hydra_context
from tests.comparing import differences
from tests.data.pairs.pair_files import rows, write_images, write_rows
from tests.data.shards.helpers import write
from tests.faults.children import in_a_child
from tracer_lightning.commands.train import run

pytestmark = pytest.mark.slow
KILLED_AT = 6
"""Optimizer steps after which a run is killed; an epoch has four."""
READERS = {
    "indexed": ("data=pairs", "data.file=mine.csv"),
    "stream": ("data=pairs_stream", "data.file=train", "data.streams=2", "data.shuffle_buffer=12"),
}
PARTS = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "total_steps")


class Kill(pl.Callback):
    """Kill this process when the step after ``KILLED_AT`` begins."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """32 training images with two captions each, as files and as shards, and others for validation."""
    root = tmp_path_factory.mktemp("pairs")
    write_images(root, 40)
    write_rows(root / "mine.csv", rows(32, captions=2))
    write_rows(root / "val.csv", rows(40)[32:])
    write(root, "train", 32, classes=[], caption="grey of level {0}\nlevel {0} of grey")
    return root


def saved(folder):
    return torch.load(folder / "run/checkpoints/last.ckpt", weights_only=True)


@pytest.mark.parametrize("reader", READERS)
def test_a_killed_run_continues_to_the_last_bit(tmp_path, root, reader):
    """With other workers, which change nothing."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    data = (*READERS[reader], f"data.root={root}", "data.val=val.csv", "data.batch_size=8", "positives=diagonal")
    checkpoints = ("callbacks.checkpoint.every_n_train_steps=1", f"paths.cache={root}/cache")

    def settings(folder, *overrides):
        folder.mkdir(exist_ok=True)
        return composed(folder, *data, *checkpoints, *overrides)

    with hydra_context():
        run(settings(whole, "data.num_workers=0"))
        killed = settings(broken, "data.num_workers=0", f"+callbacks.kill._target_={__name__}.Kill")
        assert in_a_child(lambda: run(killed), tmp_path / "log") == signal.SIGKILL
        checkpoint = saved(broken)
        assert KILLED_AT - 1 <= checkpoint["global_step"] <= KILLED_AT
        run(settings(broken, "data.num_workers=2", "resume=auto"))
    uninterrupted, continued = saved(whole), saved(broken)
    data_module = {"indexed": "PairsDataModule", "stream": "StreamedPairsDataModule"}[reader]
    for part in (*PARTS, data_module):
        assert uninterrupted[part] != {}
        assert not differences(uninterrupted[part], continued[part], part)
    assert (whole / "run/metrics.csv").read_bytes() == (broken / "run/metrics.csv").read_bytes()
