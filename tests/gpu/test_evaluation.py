"""Evaluation on a GPU."""

import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.evaluation import ClassificationSuite
from tracer_lightning.evaluation.logits import image_logits
from tracer_lightning.types import Batch, EvalSet

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SETS = [EvalSet("a", "test", "id"), EvalSet("b", "test", "ood", ((0, 2), (1,)))]
SIZE = 64


@pytest.fixture(autouse=True)
def _single_precision(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def models():
    return {"student": tiny_backbone(0), "teacher": tiny_backbone(1)}


def batch(device, place):
    generator = torch.Generator().manual_seed(place)
    labels = torch.randint(-1, 2, (SIZE,), generator=generator)
    images = torch.randn(SIZE, 3, 32, 32, generator=generator)
    return Batch(*(value.to(device) for value in (images, torch.zeros(SIZE, 0).long(), labels, labels)))


def started(models, device):
    spec = models["student"].spec
    prompts = spec.tokenize([f"a {name}." for name in ("one", "two", "three")]).reshape(3, 1, -1)
    suite = ClassificationSuite(SETS, prompts, tuple(models)).to(device)
    suite.start({name: each.model.to(device).eval() for name, each in models.items()})
    return suite


def evaluated(models, device):
    suite = started(models, device)
    for place in range(len(SETS)):
        suite.update(batch(device, place), place)
    return suite.finish()


def test_a_batch_is_taken_in_without_waiting_for_the_device(models):
    suite, batches = started(models, "cuda"), [batch("cuda", place) for place in range(len(SETS))]
    for place, taken in enumerate(batches):  # warms up
        suite.update(taken, place)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for place, taken in enumerate(batches):
            suite.update(taken, place)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert suite.finish()["teacher"]["a"]["n"] == 2 * int((batches[0].labels >= 0).sum())


def test_scores_are_those_of_the_processor(models):
    scores = {device: evaluated(models, device) for device in ("cpu", "cuda")}
    for model, sets in scores["cpu"].items():
        for name in ("a", "b"):
            ours = scores["cuda"][model][name]
            assert ours["n"] == sets[name]["n"]
            for metric in ("accuracy", "accuracy_top5", "macro_f1", "ece"):
                assert ours[metric] == pytest.approx(sets[name][metric], abs=2 / SIZE)  # a near tie or two


def test_logits_are_those_of_the_processor(models):
    model, head = models["student"].model.eval(), torch.nn.functional.normalize(torch.ones(3, 16).cumsum(0), dim=-1)
    with torch.no_grad():
        cpu_logits = image_logits(model, head, batch("cpu", 0).images)
        cuda_logits = image_logits(model.cuda(), head.cuda(), batch("cuda", 0).images)
    torch.testing.assert_close(cuda_logits.cpu(), cpu_logits, rtol=1e-4, atol=1e-4)
