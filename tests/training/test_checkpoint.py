import pytest
import torch

from tests.conftest import tiny_backbone
from tracer_lightning.training.checkpoint import adopt, reference, weights_file

SETTINGS = {
    "backbone": {"_target_": "tracer_lightning.models.build_clip", "embed_dim": 16},
    "data": {"_target_": "tracer_lightning.data.ShardDataModule", "suite": {"a": 1}},
    "suite": {"a": 1},
    "headline": "macro_f1",
}


@pytest.fixture
def checkpoint(tmp_path):
    def write(**settings):
        torch.save({"state_dict": {}, "hyper_parameters": SETTINGS | settings}, tmp_path / "run.ckpt")
        return f"checkpoint={tmp_path}/run.ckpt"

    return write


def test_a_run_brings_its_settings(checkpoint):
    given = checkpoint()
    assert adopt(["evaluate.py", given], evaluated=True) == [
        "evaluate.py",
        "backbone=checkpoint",
        "data=checkpoint",
        "suite=checkpoint",
        "headline=macro_f1",
        given,
    ]
    assert adopt(["export.py", given], evaluated=False) == ["export.py", "backbone=checkpoint", given]


def test_what_the_user_chooses_is_kept(checkpoint):
    given = checkpoint()
    chosen = adopt(["evaluate.py", given, "data=pacs", "data.root=x"], evaluated=True)
    assert "data=checkpoint" not in chosen
    assert "suite=checkpoint" not in chosen
    assert "suite=checkpoint" not in adopt(["evaluate.py", given, "suite=pacs"], evaluated=True)


def test_processes_started_with_the_same_command_line_adopt_the_same(checkpoint):
    once = adopt(["evaluate.py", checkpoint(), "data.root=x"], evaluated=True)
    assert set(adopt(once, evaluated=True)) == set(once)


def test_weights_and_names(tmp_path):
    torch.save(tiny_backbone().model.model.state_dict(), tmp_path / "bare.pt")
    arguments = ["evaluate.py", f"checkpoint={tmp_path}/bare.pt"]
    assert adopt(arguments, evaluated=True) == arguments
    assert adopt(["evaluate.py", "checkpoint=null"], evaluated=True) == ["evaluate.py", "checkpoint=null"]
    assert reference("ViT-B-32/laion2b_s34b_b79k") == ("ViT-B-32", "laion2b_s34b_b79k")
    assert reference("hf-hub:a/b") == ("hf-hub:a/b", None)
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert reference(str(tmp_path)) == (f"local-dir:{tmp_path}", None)
    assert weights_file("ViT-B-32/openai") is None
    assert weights_file(None) is None


def test_a_checkpoint_does_not_choose_what_is_called(checkpoint):
    with pytest.raises(ValueError, match=r"its settings call os\.system"):
        adopt(["evaluate.py", checkpoint(backbone={"_target_": "os.system", "command": "true"})], evaluated=True)
    nested = {"_target_": "tracer_lightning.data.ShardDataModule", "texts": {"classnames": {"_target_": "os.getcwd"}}}
    with pytest.raises(ValueError, match=r"its settings call os\.getcwd"):
        adopt(["evaluate.py", checkpoint(data=nested)], evaluated=True)
