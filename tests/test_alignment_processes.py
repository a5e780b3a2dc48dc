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
from tracer_lightning.engine.run_folder import ALIGNMENT, ALIGNMENT_LOG

TASKS = ("classes", "multilabel", "regression", "dense", "mask")
OBJECTIVES = ("fa", "orca", "fld", "mi")


def settings(files, task):
    """Two epochs, from three steps of stage 1; two processes share nine test samples unequally."""
    source = ("align=fa_mi", *SMALL[-4:], "data.held_out.fraction=0")
    if task == "classes":
        return (*SMALL, *source, f"data.root={files / 'archive'}", "data.batch_size=2")
    values = (*VALUES, *source, "align.pseudo_labels=3", f"prediction={task}", "data.eval_batch_size=3")
    return (*values, f"data.root={files / f'{task}.npz'}")


def aligned(files, objective):
    """Three steps of stage 1 on three of the four training samples, which two processes can't share equally."""
    return (*SMALL, f"align={objective}", "align.samples=3", "method=lp", f"data.root={files / 'archive'}")


def worker(local_rank, folder, runs, ports):
    """Do the runs, overrides by name, one after the other as one of two processes."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1"}
    rank_zero_only.rank = local_rank
    for (name, overrides), port in zip(runs.items(), ports, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        with hydra_context():
            run(composed(folder / name, *overrides, *DDP))
        dist.destroy_process_group()


def in_two_and_in_one(tmp_path, runs):
    """Do the runs, overrides by name, in two processes and in one; yields the results and both folders of each."""
    for name in runs:
        for processes in ("one", "two"):
            (tmp_path / processes / name).mkdir(parents=True)
    run_ranks(worker, (tmp_path / "two", runs, free_ports(len(runs))), 2)
    for name, overrides in runs.items():
        with hydra_context():
            results = run(composed(tmp_path / "one" / name, *overrides, DOUBLE))
        yield results, tmp_path / "one" / name / "run", tmp_path / "two" / name / "run"


@pytest.mark.slow
def test_two_processes_align_train_and_evaluate_like_one(tmp_path):
    write_archive(tmp_path / "archive")
    for task in TASKS[1:]:
        write_values(tmp_path / f"{task}.npz", task)
    for results, one, two in in_two_and_in_one(tmp_path, {task: settings(tmp_path, task) for task in TASKS}):
        assert results["before"]
        assert_same_run(one, two)
        assert (one / ALIGNMENT_LOG).read_bytes() == (two / ALIGNMENT_LOG).read_bytes()


@pytest.mark.slow
def test_two_processes_learn_the_same_embedder_by_every_objective(tmp_path):
    write_archive(tmp_path / "archive")
    runs = {objective: aligned(tmp_path, objective) for objective in OBJECTIVES}
    for results, one, two in in_two_and_in_one(tmp_path, runs):
        assert results["alignment"]["before"] != results["alignment"]["after"]
        for name in (ALIGNMENT, ALIGNMENT_LOG):
            assert (one / name).read_bytes() == (two / name).read_bytes()
