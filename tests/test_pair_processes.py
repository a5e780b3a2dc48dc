"""Processes that train on pairs, as copies and as shards, do what one process does on the global batch."""

import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from tests.commands.helpers import composed, hydra_context
from tests.data.pairs.pair_files import rows, write_images, write_rows
from tests.data.shards.helpers import write
from tests.ranks import run_ranks
from tests.test_distributed import DDP, DOUBLE, assert_same_run
from tests.test_fsdp import FSDP, TWO
from tests.test_traffic import free_ports
from tracer_lightning.commands.train import run

PROCESSES = {"copies": DDP, "shards": (*FSDP, TWO)}
BACKBONES = {"clip": (), "siglip": ("backbone=digits_siglip", "task_loss=sigmoid")}


def settings(files):
    """Two epochs of three steps, and test sets that two processes share unequally."""
    return (
        *("data=pairs", f"data.root={files}", "data.file=mine.csv", "data.val=val.csv", "data.batch_size=8"),
        *("+data.tests.far={file:far.csv,role:ood}", "+suite.grey={folder:grey,split:test,role:other}"),
        *("data.num_workers=0", "data.eval_batch_size=4", f"paths.cache={files}/cache", "positives=diagonal"),
    )


def worker(local_rank, files, folder, backbone, ports):
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1"}
    rank_zero_only.rank = local_rank
    for (name, processes), port in zip(PROCESSES.items(), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        with hydra_context():
            run(composed(folder / name, *settings(files), *processes, *backbone))
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pairs for training, validation and test, and a labelled set."""
    folder = tmp_path_factory.mktemp("files")
    write_images(folder, 41)
    write_rows(folder / "mine.csv", rows(27, captions=2))
    write_rows(folder / "val.csv", rows(32)[27:])
    write_rows(folder / "far.csv", rows(41, captions=3)[32 * 3 :])
    write(folder / "grey", "test", 9)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["clip", pytest.param("siglip", marks=pytest.mark.exhaustive)])
def test_two_processes_train_and_evaluate_like_one(tmp_path, files, backbone):
    for name in PROCESSES:
        (tmp_path / name).mkdir()
    run_ranks(worker, (files, tmp_path, BACKBONES[backbone], free_ports(len(PROCESSES))), 2)
    with hydra_context():
        results = run(composed(tmp_path, *settings(files), DOUBLE, *BACKBONES[backbone]))
    assert {"far", "grey"} <= set(results["teacher"])
    for name in PROCESSES:
        assert_same_run(tmp_path / "run", tmp_path / name / "run")
