"""Attacks through the settings inside a checkpoint, as they were once carried out, with payloads that do no harm."""

import os

import pytest
import torch

from tests.conftest import tiny_backbone
from tests.fuzzing.canary import watched
from tests.fuzzing.inside import COMMANDS, TARGETS
from tests.fuzzing.running import ENTRIES, attempt, entry

CALLED = {"version": 1, "formatters": {"x": {"()": "os.mkdir", "path": "executed"}}, "handlers": {}}
WRITTEN = {"version": 1, "handlers": {"x": {"class": "logging.FileHandler", "filename": "executed"}}}
WRITTEN |= {"root": {"handlers": ["x"]}}
UNPICKLED = {"_target_": "torch.hub.load_state_dict_from_url", "url": "http://127.0.0.1:9/x", "weights_only": False}
BUILT = {"_target_": "tracer_lightning.models.build_clip", "embed_dim": 16}
BUILT |= {"vision_cfg": {"image_size": 32, "width": 32, "layers": 1, "head_width": 16, "patch_size": 16}}
BUILT |= {"text_cfg": {"context_length": 16, "width": 16, "heads": 2, "layers": 1}}
FULL = {"_target_": "tracer_lightning.models.peft.full"}
ATTACKS = {
    "a node at the root": {
        "backbone": {**BUILT, "defaults": [{"/peft@_global_": "checkpoint"}, "_self_"]},
        "peft": {"prepare": FULL, "hydra": {"job_logging": CALLED}},
    },
    "a package of its own": {"backbone": BUILT, "peft": {"/hydra/job_logging@_global_": "x", "prepare": FULL}},
    "logging": {"backbone": {**BUILT, "hydra": {"job_logging": WRITTEN}}},
    "a set called defaults": {"backbone": BUILT, "suite": {"defaults": ["/peft@_global_: checkpoint"]}, "data": None},
    "a call": {"backbone": UNPICKLED},
    "a call within": {"backbone": {**BUILT, "vision_cfg": {**BUILT["vision_cfg"], "width": UNPICKLED}}},
    "a call by interpolation": {"backbone": {**BUILT, "embed_dim": "${oc.create:{_target_:os.mkdir,path:executed}}"}},
    "arguments": {"backbone": {**BUILT, "_args_": [UNPICKLED]}},
    "a tokenizer's file": {
        "backbone": {**BUILT, "text_cfg": {**BUILT["text_cfg"], "tokenizer_kwargs": {"bpe_path": "executed"}}}
    },
    "a model from elsewhere": {
        "backbone": {**BUILT, "vision_cfg": {"image_size": 32, "timm_model_name": "hf-hub:evil/model"}}
    },
    "a model of any size": {
        "backbone": {**BUILT, "vision_cfg": {**BUILT["vision_cfg"], "width": 1 << 16, "layers": 200}},
        "peft": {"name": "none", "prepare": FULL},
    },
}


QUICK, EVERY_COMMAND = "scripts/evaluate.py", "a call within"
"""The command that all attacks are tried on, and the attack that is tried on all commands."""
CASES = [
    pytest.param(
        attack,
        script,
        marks=[pytest.mark.slow] * (script != QUICK)
        + [pytest.mark.exhaustive] * (script not in (QUICK, "train.py") and attack != EVERY_COMMAND),
    )
    for script in TARGETS
    if script in ENTRIES
    for attack in ATTACKS
]
DATA_ONLY = "a set called defaults"
"""The attack through data, of which an export makes no use."""


@pytest.mark.parametrize(("attack", "script"), CASES)
def test_settings_within_a_checkpoint_run_nothing_and_write_nothing(tmp_path, monkeypatch, attack, script):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    state = tiny_backbone().model.state_dict()
    students = {f"student.{name}": value for name, value in state.items()}
    (tmp_path / "mine/checkpoints").mkdir(parents=True)
    torch.save({"state_dict": students, "hyper_parameters": ATTACKS[attack]}, "mine/checkpoints/last.ckpt")
    torch.save(tiny_backbone().model.model.state_dict(), "bare.pt")
    with watched(tmp_path) as touched:
        outcome = attempt(entry(script), COMMANDS[script], **ENTRIES[script])
    unused = attack == DATA_ONLY and script == "scripts/export.py"
    assert outcome.verdict == ("ran" if unused else "refused"), outcome
    assert not touched
    assert not os.path.lexists("executed")


def test_the_canary_sees(tmp_path):
    with watched(tmp_path / "mine") as touched:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/x").write_text("x")
        (tmp_path / "theirs").mkdir()
        (tmp_path / "theirs/x").write_text("x")
        (tmp_path / "mine/x").rename(tmp_path / "theirs/y")
        os.system("true")
    assert [event.split()[0] for event in touched] == ["os.mkdir", "open", "os.rename", "os.system"]
