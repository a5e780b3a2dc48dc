"""Runs of a SigLIP model with the sigmoid loss: from the command line's settings to the exported model."""

import functools
import json

import open_clip
import pytest
import torch

from tests.commands.helpers import composed, hydra_context, script
from tests.models.open_clip.siglip_models import write_open_clip
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone
from tracer_lightning.config.build import add_head, build_data, build_module, build_trainer

transformers = pytest.importorskip("transformers")
SHORT = ("prerequisite=null", "data.batch_size=256", "scheduler.warmup_steps=1", "trainer.max_epochs=1")
BIAS = "model.logit_bias"
OF_PAIRS = ("crd", "icl", "cross_kd", "soft_ce", "gd", "afd", "temp_distil")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Settings of a run of a small SigLIP model with towers of timm and open_clip."""
    folder = tmp_path_factory.mktemp("siglip")
    write_open_clip(folder)
    backbone = ("backbone=vit_b_16_siglip", f"backbone.name=local-dir:{folder}", "backbone.pretrained=null")
    return (*SHORT, *backbone, "task_loss=sigmoid", "regularizers=[]")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, settings):
    """Folder and results of a short run of TRACER with a method of parameter-efficient fine-tuning, if any."""

    @functools.cache
    def make(peft):
        folder = tmp_path_factory.mktemp(peft)
        with hydra_context():
            return folder / "run", run(composed(folder, *settings, f"peft={peft}", tiny=False))

    return make


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["none", "lora"])
def test_it_trains_and_is_evaluated_and_exported(finished, tmp_path, peft):
    folder, results = finished(peft)
    state = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert (state[f"student.{BIAS}"] != state[f"teacher.module.{BIAS}"]) == (peft == "none")
    status, _, stderr = script("evaluate", f"checkpoint={folder}", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    scored = json.loads((tmp_path / "evaluation.json").read_text())
    for data_set, values in results["teacher"].items():
        assert scored["teacher"][data_set]["accuracy"] == pytest.approx(values["accuracy"])
    export = (f"checkpoint={folder}", "model=teacher")
    for arguments in ((f"out={tmp_path / 'ours'}",), (f"out={tmp_path / 'theirs'}", "format=transformers")):
        status, _, stderr = script("export", *export, *arguments)
        assert status == 0, stderr
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'ours'}")
    exported = transformers.AutoModel.from_pretrained(tmp_path / "theirs")
    images, texts = torch.randn(2, 3, 32, 32), open_clip.get_tokenizer(f"local-dir:{tmp_path / 'ours'}")(["a", "dog"])
    with torch.no_grad():
        image, text, *_ = model.eval()(images, texts)
        output = exported.eval()(pixel_values=images, input_ids=texts)
    torch.testing.assert_close(output.image_embeds, image, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.text_embeds, text, rtol=0, atol=1e-5)
    assert "AutoModel.from_pretrained" in (tmp_path / "theirs/README.md").read_text()


@pytest.mark.slow
def test_it_is_merged_with_its_start(finished, tmp_path):
    folder, results = finished("none")
    status, _, stderr = script("merge", f"checkpoint={folder}", "alpha=0,1", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    merged = json.loads((tmp_path / "merge.json").read_text())
    for data_set, values in results["student"].items():
        assert merged["scores"]["1"][data_set]["accuracy"] == pytest.approx(values["accuracy"])


def built(tmp_path, *settings):
    with hydra_context():
        cfg = composed(tmp_path, *settings, tiny=False)
        backbone = build_backbone(cfg, None)
        data = build_data(cfg, backbone)
        add_head(cfg, backbone.model, data, build_trainer(cfg))
        return build_module(cfg, backbone, data)


@pytest.mark.slow
def test_the_softmax_leaves_the_bias_alone_and_says_so(tmp_path, settings, capsys):
    module = built(tmp_path, *settings, "task_loss=info_nce", "matching=softmax")
    assert not module.student.model.logit_bias.requires_grad
    assert module.student.model.logit_scale.requires_grad
    assert module.teacher.module.model.logit_bias is module.student.model.logit_bias
    assert "warning: the model has a logit bias (SigLIP), which no loss reads" in capsys.readouterr().out
    built(tmp_path, *settings)
    assert "warning" not in capsys.readouterr().out


def test_anchors_without_the_bias_are_announced(tmp_path, settings, capsys):
    built(tmp_path, *settings, "anchors=class_prompts", "distill_losses=[fd,anchor_kl]")
    assert "warning: the model's logit bias has no effect on losses of anchor texts" in capsys.readouterr().out


def test_the_sigmoid_loss_needs_a_bias(tmp_path):
    with pytest.raises(
        ValueError, match=r"method: a loss reads the logit bias, but the model has none; choose a SigLIP"
    ):
        built(tmp_path, *SHORT, "task_loss=sigmoid")


def test_regularizers_of_a_projection_that_the_tower_lacks_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match="method: TimmModel has no linear image projection; drop the regularizer"):
        built(tmp_path, *settings, "regularizers=[cross_frobenius]")


def test_distillation_losses_read_sigmoids_with_the_sigmoid_loss(tmp_path):
    with hydra_context():
        cfg = composed(tmp_path, "task_loss=sigmoid", f"distill_losses=[fd,{','.join(OF_PAIRS)}]", tiny=False)
    assert {cfg.distill_losses[term].term.matching for term in OF_PAIRS} == {"sigmoid"}
    assert "matching" not in cfg.distill_losses.fd.term
