from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.conftest import tiny_backbone
from tracer_lightning.training.checkpoint import adopt, check_continued, own_settings, reference, weights_file

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
    without = adopt(["diagnose.py", given], evaluated=True, headed=False)
    assert without == ["diagnose.py", "backbone=checkpoint", "data=checkpoint", "suite=checkpoint", given]


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


HOSTILE = [
    {"_target_": "os.system", "command": "true"},
    {"_target_": "tracer_lightning.data.shards.roots.shutil.copy"},
    {"_target_": "tracer_lightning.models.build_clip", "mean": [{"_target_": "os.getcwd"}, 0.5, 0.5]},
    {"_target_": "tracer_lightning.models.build_clip", "_partial_": True},
    {"_target_": "tracer_lightning.models.build_clip", "name": "${oc.env:HOME}"},
]


@pytest.mark.parametrize("group", ["backbone", "data", "suite"])
@pytest.mark.parametrize("node", HOSTILE)
def test_a_checkpoint_does_not_choose_what_is_called_or_read(checkpoint, group, node):
    with pytest.raises(ValueError, match=f"set {group}= yourself"):
        adopt(["evaluate.py", checkpoint(**{group: {"nested": node}})], evaluated=True)


def test_a_whole_model_and_another_backbone_are_refused(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    for checkpoint in (str(tmp_path), "ViT-B-32/openai", "hf-hub:a/b"):
        with pytest.raises(ValueError, match="give one of them"):
            adopt(["evaluate.py", f"checkpoint={checkpoint}", "backbone=rn50"], evaluated=True)


def test_settings_of_another_version_are_named(checkpoint):
    with pytest.raises(ValueError, match="have no data; set data= yourself"):
        adopt(["evaluate.py", checkpoint(data=None, headline=None)], evaluated=True)


def test_a_model_says_what_it_is(checkpoint, tmp_path):
    path = checkpoint(peft={"_target_": "tracer_lightning.models.peft.full"}).removeprefix("checkpoint=")
    assert own_settings(path, "start") == {
        "backbone": SETTINGS["backbone"],
        "peft": {"_target_": "tracer_lightning.models.peft.full"},
    }
    assert own_settings("ViT-B-32/openai", "start")["backbone"]["pretrained"] == "openai"
    torch.save({"state_dict": {}}, tmp_path / "bare.pt")
    assert own_settings(str(tmp_path / "bare.pt"), "start") is None
    with pytest.raises(ValueError, match="start=ViT-B-32: give a tag, too"):
        own_settings("ViT-B-32", "start")
    for group in ("backbone", "peft"):
        with pytest.raises(ValueError, match=f"set {group}= yourself"):
            own_settings(checkpoint(**{group: HOSTILE[0]}).removeprefix("checkpoint="), "start")


def saved(**changes):
    state = {"hyper_parameters": {}, "state_dict": {}, "callbacks": {}, "loops": {}, "optimizer_states": []}
    return state | {"lr_schedulers": [], "epoch": 1, "global_step": 4, "total_steps": 8} | changes


@pytest.mark.parametrize(
    "path",
    [
        "memory://bucket/theirs",
        "{folder}/run/checkpoints/../../theirs",
        "s3://bucket",
        "../theirs",
        "simplecache::/theirs",
    ],
)
@pytest.mark.parametrize("key", ["best_model_path", "last_model_path", "kth_best_model_path", "best_k_models"])
def test_a_checkpoint_does_not_say_what_is_removed(tmp_path, path, key):
    """Lightning removes its ``best_model_path`` when it writes the next one, also out of its folder."""
    path = path.format(folder=tmp_path)
    state = {"ModelCheckpoint": {key: {path: 1} if key == "best_k_models" else path}}
    with pytest.raises(ValueError, match=r"resume=x: it names the file .*, out of its folder"):
        check_continued(saved(callbacks=state), Path("x"))


def test_lightning_would_remove_it(tmp_path):
    """Why the check is needed."""
    folder, theirs = tmp_path / "run/checkpoints", tmp_path / "theirs"
    folder.mkdir(parents=True)
    theirs.mkdir()
    callback = ModelCheckpoint(folder)
    trainer = Trainer(logger=False, callbacks=[callback], accelerator="cpu", default_root_dir=tmp_path)
    assert callback._should_remove_checkpoint(trainer, f"{folder}/../../theirs", "new")


NEEDED = ("hyper_parameters", "state_dict", "callbacks", "loops", "epoch", "total_steps")


def test_a_run_that_trains_nothing_by_steps_is_continued():
    check_continued(saved(total_steps=None), Path("x"))


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in NEEDED for value in (None, "x", 0.5, [[1]]) if (key, value) != ("total_steps", None)],
)
def test_what_is_no_checkpoint_of_a_run_is_not_continued(key, value):
    check_continued(saved(), Path("x"))
    with pytest.raises(ValueError, match="resume=x: no checkpoint of a run of this project"):
        check_continued(saved(**{key: value}), Path("x"))


def test_settings_are_plain_and_shallow(checkpoint):
    deep = "x"
    for _ in range(100):
        deep = [deep]
    for node in ({"a": torch.zeros(1)}, {"a": deep}, {"_target_": ["os.system"]}):
        with pytest.raises(ValueError, match="set data= yourself"):
            adopt(["evaluate.py", checkpoint(data=node)], evaluated=True)
    assert not any("headline" in given for given in adopt(["x", checkpoint(headline=["ece"])], evaluated=True))
