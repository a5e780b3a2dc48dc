"""The precision of evaluations is a setting of its own: a model has one score, however it was trained."""

import json

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from tests.commands.helpers import composed, hydra_context, script
from tracer_lightning.commands.train import run
from tracer_lightning.engine.precision import set_evaluation_precision, slow_bf16_warning
from tracer_lightning.evaluation import EvaluationModule, Suite
from tracer_lightning.evaluation.logits import image_logits


class Seen(LightningModule):
    """In which type products are computed in each kind of step."""

    def __init__(self):
        super().__init__()
        self.layer, self.types = torch.nn.Linear(4, 1), {}

    def training_step(self, batch, batch_idx):
        self.types["train"] = self.layer(batch).dtype
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.types["validate"] = self.layer(batch).dtype

    def test_step(self, batch, batch_idx):
        self.types["test"] = self.layer(batch).dtype

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize(
    ("training", "evaluation", "types"),
    [
        ("32-true", "fp32", (torch.float32, torch.float32)),
        ("32-true", "bf16", (torch.float32, torch.bfloat16)),
        ("bf16-mixed", "fp32", (torch.bfloat16, torch.float32)),
        ("bf16-mixed", "bf16", (torch.bfloat16, torch.bfloat16)),
        ("64-true", "fp32", (torch.float64, torch.float64)),
    ],
)
def test_steps_are_computed_in(tmp_path, training, evaluation, types):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = Trainer(precision=training, max_steps=1, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    module, data = Seen(), DataLoader(torch.randn(4, 4))
    set_evaluation_precision(trainer, evaluation).fit(module, data, data)
    trainer.test(module, data, verbose=False)
    assert module.types == {"train": types[0], "validate": types[1], "test": types[1]}


class SeenSuite(Suite):
    """In which type a model's products are computed when its head is made, and when it is tested."""

    def __init__(self):
        super().__init__([])
        self.types = {}

    def start(self, models, untrained=False):
        self.types["head"] = models["student"](torch.randn(2, 4)).dtype

    def update(self, batch, set_index):
        self.types["test"] = batch.dtype

    def finish(self):
        return {}


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_heads_are_made_in_the_precision_of_evaluation(tmp_path, precision, dtype):
    trainer = Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False, enable_progress_bar=False)
    module = EvaluationModule({"student": torch.nn.Linear(4, 1)}, suite := SeenSuite())
    set_evaluation_precision(trainer, precision).test(module, DataLoader(torch.randn(4, 4)), verbose=False)
    assert suite.types["head"] is dtype


def test_unknown_precisions_are_named(tmp_path):
    with pytest.raises(ValueError, match="precision must be one of fp32, bf16"):
        set_evaluation_precision(Trainer(accelerator="cpu", default_root_dir=tmp_path, logger=False), "fp16")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("bf16-true", marks=pytest.mark.exhaustive)])
def test_a_run_and_its_evaluation_have_the_same_scores(tmp_path, precision):
    with hydra_context():
        results = run(composed(tmp_path, f"trainer.precision={precision}"))
    assert results["precision"] == "fp32"
    folder = tmp_path / "evaluated"
    status, out, err = script("evaluate", f"checkpoint={tmp_path / 'run'}", f"hydra.run.dir={folder}")
    assert status == 0, err
    assert "evaluated in fp32" in out
    scored = json.loads((folder / "evaluation.json").read_text())
    assert scored["precision"] == "fp32"
    for model in ("student", "teacher"):
        for data_set, scores in results[model].items():
            for metric in ("accuracy", "ece", "macro_f1"):
                assert scored[model][data_set][metric] == pytest.approx(scores[metric], abs=1e-9), (model, data_set)


def test_logits_in_bf16(backbone):
    model, images = backbone.model, torch.randn(3, 3, 32, 32)
    head = torch.nn.functional.normalize(torch.randn(5, 16), dim=-1)
    rounded, plain = (image_logits(model, head, images, in_bf16=given) for given in (True, False))
    assert torch.equal(rounded, rounded.bfloat16().float())
    expected = model.encode_image(images).bfloat16() @ (model.logit_scale * head).bfloat16().T
    assert torch.equal(rounded, expected.float())
    torch.testing.assert_close(rounded, plain, rtol=0.02, atol=0.02 * model.logit_scale.item())


@pytest.mark.parametrize(
    ("device", "capabilities", "teacher", "warned"),
    [
        ("cpu", {"architecture": "x86_64"}, "bf16", True),
        ("cpu", {"architecture": "x86_64"}, "same", False),
        ("cpu", {"architecture": "x86_64", "avx512_bf16": True}, "bf16", False),
        ("cpu", {"architecture": "aarch64"}, "bf16", False),
        ("meta", {"architecture": "x86_64"}, "bf16", False),
    ],
)
def test_bf16_on_a_cpu_without_instructions_for_it(monkeypatch, device, capabilities, teacher, warned):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    warning = slow_bf16_warning(torch.device(device), {"trainer.precision": "32-true", "teacher.precision": teacher})
    assert (warning is not None) == warned
    assert warning is None or warning.startswith("teacher.precision=bf16: this CPU has no instructions for bf16")
