"""Runs of models that answer questions: resumed to the last bit, evaluated, exported, refused."""

import json

import pytest
import torch

from tests.answering import tiny_llava
from tests.commands.helpers import composed, hydra_context, script
from tests.comparing import differences
from tests.engine.test_run import run_until
from tracer_lightning.commands.train import run
from tracer_lightning.models import load_weights
from tracer_lightning.models.answering.lora import add_lora

SMALL = (
    "prerequisite=null",
    "backbone.vision_cfg.layers=1",
    "backbone.text_cfg.layers=1",
    "data.renderings_per_digit=1",
    "data.batch_size=256",
    "data.eval_batch_size=2",
    "trainer.max_steps=8",
    "trainer.limit_test_batches=2",
    "trainer.limit_val_batches=1",
    "trainer.log_every_n_steps=1",
    "scheduler.warmup_steps=1",
)
"""A run of two epochs of four steps."""


def questions(folder, *overrides):
    return composed(folder, "experiment=questions", *SMALL, *overrides, tiny=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run with a teacher."""
    folder = tmp_path_factory.mktemp("questions")
    with hydra_context():
        run(questions(folder, "method=sft_wma"))
    return folder / "run"


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_losses_and_scores_are_written(finished):
    columns = (finished / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/loss/answer_cross_entropy", "train/loss/answer_kl", "train/answer_tokens"} <= set(columns)
    results = results_of(finished)
    assert {"zero_shot", "student", "teacher"} <= results.keys()
    assert results["student"]["image_id/text_task"]["sets"] == ["id/task/next_or", "id/task/colour_or"]
    assert results["student"]["id/distractor/next_or"]["distractor_rate"] is not None
    assert results["validation"].keys() == {"trained"}
    assert results["parameters"]["trained"] < results["parameters"]["total"]
    report = (finished / "report.html").read_text()
    assert "Images by texts" in report
    for figure in ("grid.png", "grid.svg"):
        assert figure in report
        assert (finished / figure).stat().st_size > 1000


def assert_continued(whole, resumed):
    """The same state to the last bit."""
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "DigitQuestionsDataModule", "global_step")
    unbroken, continued = (
        torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (whole, resumed)
    )
    assert not differences({part: unbroken[part] for part in parts}, {part: continued[part] for part in parts})


@pytest.mark.slow
@pytest.mark.parametrize("peft", [pytest.param("none", marks=pytest.mark.exhaustive), "lora_all"])
def test_a_killed_run_continues_to_the_last_bit(finished, tmp_path, peft):
    options = ("method=sft_wma", f"peft={peft}")
    with hydra_context():
        if peft != "none":
            (tmp_path / "whole").mkdir()
            run(questions(tmp_path / "whole", *options))
            finished = tmp_path / "whole/run"
        run_until(questions(tmp_path, *options), epochs=1)
        run(questions(tmp_path, *options, "resume=auto"))
    assert_continued(finished, tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_accumulates_continues_within_an_epoch_to_the_last_bit(tmp_path):
    """It dies between the batches of the second step of an epoch of three: two of two batches, and one of one."""
    steps = ("trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=5", "data.batch_size=64")
    options = ("method=sft_wma", *steps, "callbacks.checkpoint.every_n_train_steps=1", "trainer.max_steps=5")
    (tmp_path / "whole").mkdir()
    with hydra_context():
        run(questions(tmp_path / "whole", *options))
        run_until(questions(tmp_path, *options), epochs=0)
        run(questions(tmp_path, *options, "resume=auto"))
    assert_continued(tmp_path / "whole/run", tmp_path / "run")


@pytest.mark.slow
def test_a_finished_run_is_evaluated_and_exported(finished, tmp_path):
    status, stdout, stderr = script(
        "evaluate", f"checkpoint={finished}", "trainer.limit_test_batches=2", f"hydra.run.dir={tmp_path / 'evaluation'}"
    )
    assert status == 0, stderr
    evaluation, results = json.loads((tmp_path / "evaluation/evaluation.json").read_text()), results_of(finished)
    for model in ("student", "teacher"):
        assert evaluation[model] == results[model]
    assert "images by texts" in stdout
    out = tmp_path / "exported"
    status, stdout, stderr = script("export", f"checkpoint={finished}", f"out={out}", f"hydra.run.dir={tmp_path}")
    assert status == 0, stderr
    assert "AutoModelForImageTextToText" in stdout
    with hydra_context():
        overrides = [f"backbone.name={out}", "trainer.max_steps=1"]
        small = [setting for setting in SMALL if not setting.startswith("backbone")]
        cfg = composed(tmp_path, "experiment=questions", "backbone=mllm", *small, *overrides, tiny=False)
        again = run(cfg)
    assert again["zero_shot"] == results["student"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distill_losses=[fd]", "teacher=frozen"], "fd .* reads ClipFeatures, and the model gives AnswerLogits"),
        (["backbone=digits_vit"], "spec must be that of a model that answers questions"),
        (["head=zero_shot"], "head=zero_shot needs classes, .* choose head=none"),
        (["data=digits"], "spec must be that of a model of images and captions"),
        (["compute.micro_batch=2"], "micro_batch must be None"),
        (["method.train=[scale]"], "must be a list of some of image, connector, text, head"),
        (["head=probe"], "head=probe needs classes, which these data don't have; choose head=none"),
        (["anchors=captions"], "anchors=captions needs classes, which these data don't have; choose anchors=none"),
        (
            ["method=sft_wma", "peft=lora_all", "teacher.lora_space=merged"],
            "teacher.lora_space=merged with peft=lora_all: lora_space must be factors: .* layers of the peft library",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, overrides, message):
    kept = [setting for setting in SMALL if not setting.startswith(("backbone", "data"))]
    with hydra_context(), pytest.raises(ValueError, match=message):
        run(composed(tmp_path, "experiment=questions", *kept, *overrides, tiny=False))


@pytest.mark.slow
def test_answer_losses_with_clip_are_refused(tmp_path):
    with hydra_context(), pytest.raises(ValueError, match="reads AnswerLogits, and the model gives ClipFeatures"):
        run(composed(tmp_path, "task_loss=answer_cross_entropy"))


@pytest.mark.slow
def test_a_checkpoint_does_not_choose_to_execute_code(finished, tmp_path):
    content = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    content["hyper_parameters"]["backbone"] = {
        "_target_": "tracer_lightning.models.load_pretrained",
        **{"name": "a/b", "revision": None, "dtype": "float32", "attention": "sdpa"},
        **{"trust_remote_code": True, "parts": None},
    }
    torch.save(content, tmp_path / "tampered.ckpt")
    status, _, stderr = script("evaluate", f"checkpoint={tmp_path / 'tampered.ckpt'}", f"hydra.run.dir={tmp_path}")
    assert status == 1
    assert "trust_remote_code" in stderr


@pytest.mark.slow
def test_low_rank_updates_are_not_loaded_into_a_model_without_them(tmp_path):
    pytest.importorskip("peft")
    backbone = tiny_llava()
    add_lora(backbone.model, rank=2, alpha=4)
    torch.save(backbone.model.state_dict(), tmp_path / "updated.pt")
    with pytest.raises(ValueError, match=r"the weights have low-rank updates, .*; export the run"):
        load_weights(tiny_llava().model, tmp_path / "updated.pt")
