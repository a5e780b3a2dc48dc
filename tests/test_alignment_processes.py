"""Two processes that align an embedder and predict classes or values do what one does on the global batch."""

import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from tests.commands.helpers import composed, hydra_context
from tests.commands.test_cross_modal import SMALL, VALUES
from tests.data.arrays.helpers import write_archive, write_values
from tests.ranks import run_ranks
from tests.test_distributed import DDP, DOUBLE, assert_same_run
from tests.test_traffic import free_ports
from tracer_lightning.commands.train import run

TASKS = ("classes", "multilabel", "regression", "dense", "mask")


def settings(files, task):
    """Two epochs, from three steps of stage 1; two processes share nine test samples unequally."""
    source = ("align=fa_mi", *SMALL[-4:], "data.held_out.fraction=0")
    if task == "classes":
        return (*SMALL, *source, f"data.root={files / 'archive'}", "data.batch_size=2")
    values = (*VALUES, *source, "align.pseudo_labels=3", f"prediction={task}", "data.eval_batch_size=3")
    return (*values, f"data.root={files / f'{task}.npz'}")


def worker(local_rank, files, folder, ports):
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1"}
    rank_zero_only.rank = local_rank
    for task, port in zip(TASKS, ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        with hydra_context():
            run(composed(folder / task, *settings(files, task), *DDP))
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_align_train_and_evaluate_like_one(tmp_path):
    write_archive(tmp_path / "archive")
    for task in TASKS[1:]:
        write_values(tmp_path / f"{task}.npz", task)
    for task in TASKS:
        for processes in ("one", "two"):
            (tmp_path / processes / task).mkdir(parents=True)
    run_ranks(worker, (tmp_path, tmp_path / "two", free_ports(len(TASKS))), 2)
    for task in TASKS:
        with hydra_context():
            results = run(composed(tmp_path / "one" / task, *settings(tmp_path, task), DOUBLE))
        assert results["before"]
        assert_same_run(tmp_path / "one" / task / "run", tmp_path / "two" / task / "run")
        logs = [(tmp_path / processes / task / "run/alignment.csv").read_bytes() for processes in ("one", "two")]
        assert logs[0] == logs[1]
