"""Processes that hold shards of student, teacher and optimizer do what one process does that has all."""

import json
import os

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only

from tests.commands.helpers import composed, hydra_context, script
from tests.ranks import run_ranks
from tests.test_distributed import DOUBLE, SHORT, assert_same_run
from tests.test_traffic import free_ports
from tracer_lightning.commands.train import run
from tracer_lightning.data.digits.styles import STYLES
from tracer_lightning.reporting.training_curves import read_curves

PLUGIN = "trainer.plugins=[{_target_: lightning.pytorch.plugins.precision.DoublePrecision}]"
"""In double precision, which Lightning offers no setting for here."""
FSDP = ("trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=null", PLUGIN)
TWO, FOUR = "trainer.devices=2", "trainer.devices=4"
COPIES = ("trainer.strategy.data_parallel_size=2", "trainer.strategy.tensor_parallel_size=2")
FIRST_EPOCH = "first/run/checkpoints/previous.ckpt"
KINDS = {
    "probe": ("method=ft", "head=probe"),
    "car_ft": ("method=car_ft",),
    "lora": ("peft=lora", "peft.prepare.blocks=[-1]"),
    "clip_adapter": ("peft=clip_adapter",),
    "lp": ("method=lp",),
    "siglip": ("backbone=digits_siglip", "task_loss=sigmoid"),
}
"""Heads, anchors, added weights and biases."""
RUNS = {
    "first": (TWO,),
    "continued": (TWO,),
    "copies": (FOUR, *COPIES),
    "l2_sp": (TWO, "method=l2_sp"),
    "afd": (TWO, "distill_losses=[fd,afd]"),
    "images": (TWO, "callbacks.report.images=1"),
    "lora": (TWO, *KINDS["lora"]),
}
MORE_RUNS = {
    "micro_batch": (TWO, "compute.micro_batch=29"),  # few of the batches have all 30 captions
    **{name: (TWO, *KINDS[name]) for name in ("probe", "car_ft", "clip_adapter", "lp", "siglip")},
}


def worker(local_rank, folder, ports, runs):
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(local_rank), "MASTER_ADDR": "127.0.0.1"}
    rank_zero_only.rank = local_rank
    for (name, settings), port in zip(runs.items(), ports, strict=True):
        if local_rank >= 2 and FOUR not in settings:
            continue
        os.environ["MASTER_PORT"] = str(port)
        with hydra_context():
            cfg = composed(folder / name, *SHORT, *FSDP, *settings, tiny=False)
        if name == "continued":
            cfg.resume = str(folder / FIRST_EPOCH)
        try:
            run(cfg)
        except ValueError as error:
            (folder / name / f"error{local_rank}").write_text(str(error))
        if dist.is_initialized():
            dist.destroy_process_group()


def run_sharded(folder, runs, ranks):
    """Run all in processes that are started once."""
    for name in runs:
        (folder / name).mkdir()
    run_ranks(worker, (folder, free_ports(len(runs)), runs), ranks)
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A folder of runs in shards."""
    return run_sharded(tmp_path_factory.mktemp("sharded"), RUNS, ranks=4)


@pytest.fixture(scope="module")
def more_sharded(tmp_path_factory):
    return run_sharded(tmp_path_factory.mktemp("more"), MORE_RUNS, ranks=2)


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run of one process."""
    path = tmp_path_factory.mktemp("single")
    with hydra_context():
        run(composed(path, *SHORT, DOUBLE, tiny=False))
    return path / "run"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["continued", "copies"])
def test_runs_are_those_of_one_process(single, sharded, name):
    """Copies: as on several machines, shards within and copies among them."""
    assert_same_run(single, sharded / name / "run")


@pytest.mark.exhaustive
def test_micro_batches_are_those_of_one_process(single, more_sharded):
    assert_same_run(single, more_sharded / "micro_batch/run")


@pytest.mark.slow
def test_results_and_curves_are_those_of_one_process(single, sharded):
    folder = sharded / "first/run"
    results, expected = (json.loads((place / "results.json").read_text()) for place in (folder, single))
    for model in ("zero_shot", "student", "teacher"):
        assert results[model] == expected[model]
    curves, others = (read_curves(place / "metrics.csv") for place in (folder, single))
    assert set(curves) == set(others)
    assert {"train/loss/total", "teacher/distance_to_student"} <= set(curves)
    for name, curve in curves.items():
        assert curve.steps == others[name].steps
        assert curve.values == pytest.approx(others[name].values, rel=1e-8), name


@pytest.mark.slow
def test_one_process_continues_it(tmp_path, single, sharded):
    with hydra_context():
        cfg = composed(tmp_path, *SHORT, DOUBLE, tiny=False)
    cfg.resume = str(sharded / FIRST_EPOCH)
    run(cfg)
    assert_same_run(single, tmp_path / "run")


@pytest.mark.slow
def test_what_it_leaves_is_evaluated_exported_and_started_from(tmp_path, sharded):
    """In single precision, where the run was in double."""
    place = sharded / "continued/run"
    status, _, stderr = script("evaluate", f"checkpoint={place}", f"hydra.run.dir={tmp_path / 'evaluated'}")
    assert status == 0, stderr
    scored, expected = (
        json.loads(f.read_text()) for f in (tmp_path / "evaluated/evaluation.json", place / "results.json")
    )
    for model in ("student", "teacher"):
        for name in STYLES:
            assert scored[model][name]["accuracy"] == pytest.approx(expected[model][name]["accuracy"], abs=5e-3)
    status, _, stderr = script("export", f"checkpoint={place}", f"out={tmp_path / 'exported'}")
    assert status == 0, stderr
    with hydra_context():
        results = run(composed(tmp_path, *SHORT, f"init_weights={place}", "trainer.max_steps=1", tiny=False))
    for name in STYLES:
        expected_accuracy = expected["student"][name]["accuracy"]
        assert results["zero_shot"][name]["accuracy"] == pytest.approx(expected_accuracy, abs=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["lora", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in KINDS if n != "lora")]
)
def test_heads_anchors_and_added_weights(tmp_path, request, name):
    sharded = request.getfixturevalue("sharded" if name in RUNS else "more_sharded")
    with hydra_context():
        run(composed(tmp_path, *SHORT, DOUBLE, *KINDS[name], tiny=False))
    loose = {"rtol": 1e-5, "atol": 1e-6} if name in ("probe", "lp") else {}
    assert_same_run(tmp_path / "run", sharded / name / "run", **loose)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("l2_sp", "regularizers l2_sp read all weights"),
        ("afd", "a term among info_nce, fd, afd has weights"),
        ("images", "images must be 0 for sharded models"),
    ],
)
def test_what_no_shards_allow_is_refused_by_every_rank(sharded, name, reason):
    for rank in range(2):
        assert reason in (sharded / f"{name}/error{rank}").read_text()
