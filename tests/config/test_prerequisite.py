"""What an experiment may start from."""

import warnings

import pytest
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.conftest import CONF
from tests.data.questions.question_files import rows, write_images, write_rows
from tracer_lightning.commands.train import run
from tracer_lightning.config.backbones import build_backbone, is_pretrained
from tracer_lightning.config.build import check_parts
from tracer_lightning.config.prerequisite import check_backbone


@pytest.mark.parametrize(
    ("option", "settings", "expected"),
    [
        ("digits_vit", {}, False),
        ("tiny_llava", {}, False),
        ("mllm", {}, True),
        ("vit_b_32", {}, True),
        ("vit_b_32", {"pretrained": None}, False),
        ("vit_b_32", {"pretrained": None, "name": "local-dir:exported"}, True),
    ],
)
def test_backbones_with_weights_of_their_own(option, settings, expected):
    backbone = OmegaConf.merge(OmegaConf.load(f"{CONF}/backbone/{option}.yaml"), settings)
    assert is_pretrained(backbone) is expected


@pytest.mark.parametrize(
    "settings",
    [
        ("experiment=questions", "backbone=mllm", "backbone.name=folder", "data=vqa", "data.train.file=mine.jsonl"),
        pytest.param(
            ("backbone=mllm", "backbone.name=folder", "data=vqa", "data.train.file=mine.jsonl"), marks=pytest.mark.slow
        ),
        pytest.param(("backbone=vit_b_32", "data=image_folder", "data.root=images"), marks=pytest.mark.slow),
        pytest.param(("backbone=mllm", "~backbone.name"), marks=pytest.mark.slow),
    ],
)
def test_pretrained_models_are_not_trained_on_the_data_of_a_prerequisite(tmp_path, settings):
    with hydra_context():
        cfg = composed(tmp_path, *settings, tiny=False)
        with pytest.raises(ValueError, match=r"^prerequisite.experiment=\w+_pretrain trains random weights") as raised:
            check_backbone(cfg)
    for name in ("questions_own", "own_images", "pairs_own"):
        assert name in str(raised.value)
        assert OmegaConf.load(f"{CONF}/experiment/{name}.yaml").get("prerequisite") is None


@pytest.mark.slow
def test_a_prerequisite_may_train_a_pretrained_model_of_its_own(tmp_path):
    with hydra_context():
        check_backbone(composed(tmp_path, "backbone=vit_b_32", "prerequisite.experiment=own_images", tiny=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("optimizer.lr=-1",), "optimizer: Invalid learning rate: -1"),
        (("kernel.beta=-1",), "kernel: beta must be"),
        (("teacher=ema", "teacher.module.momentum=2"), "teacher"),
        (("scheduler.warmup_steps=-1",), "scheduler"),
        (("distill_losses.fd.weight=-1",), r"distill_losses\.fd\.weight"),
    ],
)
def test_mistakes_show_before_a_prerequisite_is_trained(tmp_path, capsys, settings, message):
    with hydra_context():
        cfg = composed(tmp_path, *settings, f"paths.prerequisites={tmp_path / 'prerequisites'}", tiny=False)
        with pytest.raises(ValueError, match=f"^{message}"):
            run(cfg)
    assert "trained now" not in capsys.readouterr().out


def test_parts_are_tried_with_the_model_of_the_run(tmp_path):
    with hydra_context():
        cfg = composed(tmp_path, "peft=lora", "teacher.lora_space=merged")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as that merged is ignored without low-rank updates
        check_parts(cfg, build_backbone(cfg, None).model)


@pytest.mark.slow
def test_errors_of_a_prerequisite_name_it(tmp_path):
    write_images(tmp_path)
    write_rows(tmp_path / "mine.jsonl", rows())
    own = (f"data.root={tmp_path}", "data.train.file=mine.jsonl")
    with (
        hydra_context(),
        pytest.raises(ValueError, match=r"^prerequisite.experiment=digits_pretrain can't be trained: data: spec must"),
    ):
        run(composed(tmp_path, "backbone=tiny_llava", "method=sft", "evaluation=answers", "data=vqa", *own, tiny=False))
