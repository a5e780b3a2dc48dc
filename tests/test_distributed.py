"""Two gloo processes do what one does on the global batch."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.commands.helpers import composed, hydra_context
from tests.commands.test_cli import ROOT, train
from tests.ranks import run_ranks
from tests.training_helpers import make_data, make_module
from tracer_lightning.commands.train import run
from tracer_lightning.reporting.training_curves import read_curves
from tracer_lightning.types import Batch, LossInputs

STEP = {"images": (8, 3, 32, 32), "texts": (8, 16)}


def batch():
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(1, 1000, STEP["texts"], generator=generator)
    texts[:, -1] = 49407
    images = torch.randn(STEP["images"], generator=generator, dtype=torch.double)
    return Batch(images, texts, torch.tensor([0, 1, 2, 0, 1, 2, 3, 0]), torch.arange(8))


def gradients(model, module, part):
    inputs = LossInputs(model(part, module.reads), module.teacher(part, module.reads))
    loss = module.loss(inputs)[0] + module.regularizers(module.student, inputs)[0]
    loss.backward()
    return {name: p.grad for name, p in module.student.named_parameters()}


def worker(rank, port_file, result_file):
    dist.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    module = moved_module()
    part = Batch(*(value[rank * 4 : rank * 4 + 4] for value in batch()[:4]))
    gradients_of_rank = gradients(DistributedDataParallel(module.student), module, part)
    if rank == 0:
        torch.save(gradients_of_rank, result_file)
    dist.destroy_process_group()


def moved_module():
    """Teacher and student differ."""
    module = make_module(make_data(), torch.double)
    module.teacher.begin(module.student, 5)
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.mul_(1.01)
    return module


@pytest.mark.slow
def test_gradients_are_those_of_one_process(tmp_path):
    run_ranks(worker, (tmp_path / "rendezvous", tmp_path / "gradients.pt"), 2)
    distributed = torch.load(tmp_path / "gradients.pt", weights_only=True)
    module = moved_module()
    for name, expected in gradients(module.student, module, batch()).items():
        torch.testing.assert_close(
            distributed[name], expected, rtol=1e-10, atol=1e-14, msg=partial("{1}: {0}".format, name)
        )


SHORT = (
    *("prerequisite=null", "backbone.vision_cfg.layers=1", "backbone.text_cfg.layers=1", "trainer.max_epochs=2"),
    *("scheduler.warmup_steps=1", "data.batch_size=256", "callbacks.progress.refresh_rate=0", "run=test"),
    *("callbacks=teacher_statistics", "callbacks.teacher_statistics.every_n_steps=3"),
)


DOUBLE = "trainer.precision=64-true"
DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", DOUBLE)


def succeeded(result):
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run of one process."""
    path = tmp_path_factory.mktemp("single")
    with hydra_context():
        run(composed(path, *SHORT, DOUBLE, tiny=False))
    return path / "run"


def assert_same_run(one, other_folder, rtol=1e-8, atol=1e-10):
    """Same weights, teacher and results."""
    first, second = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (one, other_folder))
    assert set(first["state_dict"]) == set(second["state_dict"])
    assert first["state_dict"].get("teacher._extra_state") == second["state_dict"].get("teacher._extra_state")
    for key, value in first["state_dict"].items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, second["state_dict"][key], rtol=rtol, atol=atol)
    results, others = (json.loads((folder / "results.json").read_text()) for folder in (one, other_folder))
    for model in ("zero_shot", "before", "student", "teacher"):
        assert (model in results) == (model in others)
        for data_set, values in (results.get(model) or {}).items():
            for metric, value in values.items():
                close = pytest.approx(value, abs=1e-6) if isinstance(value, float) else value
                assert others[model][data_set][metric] == close


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Folder of a sweep of runs of two processes."""
    path = tmp_path_factory.mktemp("sweep")
    succeeded(train("-m", "method=tracer,flyp", *SHORT, *DDP, cwd=path))
    return path / "outputs/digits/test"


@pytest.mark.slow
def test_two_processes_train_and_evaluate_like_one(single, sweep):
    run_of_two = sweep / "0-tracer-seed0"
    assert_same_run(single, run_of_two)
    one, two = (read_curves(folder / "metrics.csv") for folder in (single, run_of_two))
    names = [name for name in one if name.startswith(("student/", "teacher/"))]
    assert len(names) == 13
    for name in names:
        assert two[name].steps == one[name].steps == [2, 5]
        assert two[name].values == pytest.approx(one[name].values, rel=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("method=ft",), id="ft", marks=pytest.mark.exhaustive),
        pytest.param(("method=lipsum_ft",), id="lipsum_ft"),
        pytest.param(
            ("distill_losses=[fd,afd]", "reproduce.distillation_from=1"),
            id="term-with-weights",
            marks=pytest.mark.exhaustive,
        ),
    ],
)
def test_other_methods_are_the_same_with_two_processes(tmp_path, settings):
    with hydra_context():
        run(composed(tmp_path, *SHORT, DOUBLE, *settings, tiny=False))
    succeeded(train(*SHORT, *DDP, *settings, cwd=tmp_path))
    assert_same_run(tmp_path / "run", tmp_path / "outputs/digits/test")


@pytest.mark.exhaustive
def test_two_processes_make_the_same_probe_as_one(tmp_path):
    """To what the regression calls converged."""
    with hydra_context():
        run(composed(tmp_path, *SHORT, DOUBLE, "method=lp", tiny=False))
    succeeded(train(*SHORT, *DDP, "method=lp", cwd=tmp_path))
    assert_same_run(tmp_path / "run", tmp_path / "outputs/digits/test", rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_torchrun(tmp_path, single):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, str(ROOT / "train.py"), *SHORT, *DDP]
    succeeded(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True))
    assert_same_run(single, tmp_path / "outputs/digits/test")


@pytest.mark.slow
def test_prerequisites_under_torchrun(tmp_path):
    """One process trains it, the other waits for it."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    overrides = ("trainer.max_steps=3", "backbone.vision_cfg.layers=1", "min_accuracy=0.0", "scheduler.warmup_steps=1")
    shrunk = "prerequisite.overrides=[" + ",".join(f"'{override}'" for override in overrides) + "]"
    options = [*SHORT[1:2], "backbone.text_cfg.layers=2", *SHORT[3:], "prerequisite.experiment=digits_pretrain", shrunk]
    command = [*launcher, str(ROOT / "train.py"), *options, *DDP]
    succeeded(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True))
    assert (tmp_path / "outputs/digits/test/results.json").exists()


@pytest.mark.slow
def test_sweeps_of_distributed_runs(sweep):
    """Each job starts a second process, which must not start the sweep again."""
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0-tracer-seed0", "1-flyp-seed0"]
    assert json.loads((sweep / "1-flyp-seed0/results.json").read_text())["method"] == "flyp"
    assert [path.name for path in sweep.parent.iterdir()] == ["test"]
