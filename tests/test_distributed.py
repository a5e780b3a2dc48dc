"""Two gloo processes do what one does on the global batch."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.training.test_cli import ROOT, train
from tests.training_helpers import make_data, make_module
from tracer_lightning.functional.distributed import gather, gather_features
from tracer_lightning.types import Batch, TermInputs

STEP = {"images": (8, 3, 32, 32), "texts": (8, 16)}


def batch():
    generator = torch.Generator().manual_seed(0)
    texts = torch.randint(1, 1000, STEP["texts"], generator=generator)
    texts[:, -1] = 49407
    images = torch.randn(STEP["images"], generator=generator, dtype=torch.double)
    return Batch(images, texts, torch.tensor([0, 1, 2, 0, 1, 2, 3, 0]), torch.arange(8))


def gradients(model, module, part):
    student = gather_features(model(part.images, part.texts))
    teacher = gather_features(module.teacher(part.images, part.texts))
    loss = module.loss(TermInputs(student, teacher, gather(part.labels)))[0] + module.regularizers(module.student)[0]
    loss.backward()
    return {name: p.grad for name, p in module.student.named_parameters()}


def worker(rank, port_file, result_file):
    dist.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    module = moved_module()
    part = Batch(*(value[rank * 4 : rank * 4 + 4] for value in batch()))
    found = gradients(DistributedDataParallel(module.student), module, part)
    if rank == 0:
        torch.save(found, result_file)
    dist.destroy_process_group()


def moved_module():
    """Teacher and student differ."""
    module = make_module(make_data(), torch.double)
    module.teacher.begin(module.student, 5)
    with torch.no_grad():
        for parameter in module.student.parameters():
            parameter.mul_(1.01)
    return module


def test_gradients_are_those_of_one_process(tmp_path):
    mp.spawn(worker, (tmp_path / "rendezvous", tmp_path / "gradients.pt"), nprocs=2)
    found = torch.load(tmp_path / "gradients.pt", weights_only=True)
    module = moved_module()
    for name, expected in gradients(module.student, module, batch()).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-14, msg=partial("{1}: {0}".format, name))


SHORT = (
    *("prerequisite=null", "backbone.vision_cfg.layers=1", "backbone.text_cfg.layers=1", "trainer.max_epochs=2"),
    *("scheduler.warmup_steps=1", "data.batch_size=256", "callbacks.progress.refresh_rate=0", "run=test"),
)


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    """The same run by one process, by two that train.py starts, and by two that torchrun starts."""
    path = tmp_path_factory.mktemp("ddp")
    double = "trainer.precision=64-true"
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", double)
    started = {
        "one": train(*SHORT, double, "paths.outputs=one", cwd=path),
        "two": train(*SHORT, *ddp, "paths.outputs=two", cwd=path),
    }
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    started["torchrun"] = subprocess.run(
        [*launcher, str(ROOT / "train.py"), *SHORT, *ddp, "paths.outputs=torchrun"],
        cwd=path,
        capture_output=True,
        text=True,
    )
    for name, result in started.items():
        assert result.returncode == 0, f"{name}: {result.stderr[-3000:]}"
    return path


@pytest.mark.parametrize("name", ["two", "torchrun"])
def test_weights_teacher_and_results_of_whole_runs(whole_runs, name):
    folders = [whole_runs / run / "digits/test" for run in ("one", name)]
    one, two = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in folders)
    assert one["state_dict"]["teacher._extra_state"] == two["state_dict"]["teacher._extra_state"]
    for key, value in one["state_dict"].items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, two["state_dict"][key], rtol=1e-8, atol=1e-10)
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    for model in ("zero_shot", "student", "teacher"):
        for data_set, values in results[0][model].items():
            assert (
                values == pytest.approx(results[1][model][data_set], abs=1e-6) or values == results[1][model][data_set]
            )
