"""Processes that train a model that answers questions do what one process does on the global batch."""

import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from tests.commands.helpers import composed, hydra_context
from tests.commands.test_cli import train
from tests.ranks import run_ranks
from tests.test_distributed import DDP, DOUBLE, assert_same_run, succeeded
from tests.test_fsdp import FSDP, TWO
from tests.test_traffic import free_ports
from tracer_lightning.commands.train import run

SHORT = (
    *("experiment=questions", "method=sft_wma", "prerequisite=null", "run=test", "callbacks.progress.refresh_rate=0"),
    *("backbone.vision_cfg.layers=1", "backbone.text_cfg.layers=1", "data.kinds=[caption]", "data.tests=kinds"),
    *("data.renderings_per_digit=1", "data.batch_size=32", "data.eval_batch_size=64", "trainer.max_steps=4"),
    *("trainer.log_every_n_steps=1", "scheduler.warmup_steps=1"),
)
"""Four steps. Answers have as many tokens as words, so that ranks have unequal numbers of them."""
GENERAL = "data.mix={ratio:0.5,sets:{general:{kinds:[digit],renderings_per_digit:2}}}"
ACCUMULATED = ("trainer.accumulate_grad_batches=4", "trainer.limit_train_batches=3")
"""Steps of three batches, because an epoch ends before a fourth one."""


def run_alone(folder, *settings):
    with hydra_context():
        run(composed(folder, *SHORT, DOUBLE, *settings, tiny=False))
    return folder / "run"


@pytest.mark.slow
def test_two_processes_that_accumulate_train_like_one_with_a_large_batch(tmp_path):
    """With an eps that makes the updates depend on the scale of the gradients."""
    shared = ("optimizer.eps=1", "optimizer.lr=0.1", GENERAL)
    succeeded(train(*SHORT, *DDP, *shared, *ACCUMULATED, cwd=tmp_path))
    one = run_alone(tmp_path, *shared, "data.batch_size=96", "trainer.limit_train_batches=1")
    assert_same_run(one, tmp_path / "outputs/questions/test")


def shard_worker(local_rank, folder, ports):
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1"}
    rank_zero_only.rank = local_rank
    for judge, port in zip(("exact", "option"), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        with hydra_context():
            cfg = composed(folder / judge, *SHORT, *FSDP, TWO, f"evaluation.test_suite.judge={judge}", tiny=False)
        try:
            run(cfg)
        except ValueError as error:
            (folder / judge / f"error{local_rank}").write_text(str(error))
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_shards_train_like_one_process_and_do_not_generate(tmp_path):
    for name in ("exact", "option", "single"):
        (tmp_path / name).mkdir()
    run_ranks(shard_worker, (tmp_path, free_ports(2)), 2)
    assert_same_run(run_alone(tmp_path / "single"), tmp_path / "exact/run")
    for rank in range(2):
        assert "judge must be exact for a sharded model" in (tmp_path / f"option/error{rank}").read_text()
