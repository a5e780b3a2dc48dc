import itertools
import json
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context
from tests.conftest import CONF, tiny_backbone
from tracer_lightning.commands.program import COMMANDS
from tracer_lightning.config.checkpoint import (
    DATA,
    MODEL,
    inherit_checkpoint_config,
    own_settings,
    reference,
    weights_file,
    with_checkpoint,
)
from tracer_lightning.config.saved_settings import group_settings

LOADING = {"batch_size": 8, "eval_batch_size": 8, "num_workers": 0, "max_bad_fraction": 0.0}
SUITE = {"photo": {"folder": "pets", "split": "test", "role": "id", "video": False}}
BACKBONE = {
    "_target_": "tracer_lightning.models.build_clip",
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "width": 32},
    "text_cfg": {"context_length": 16},
}
SHARDS = {
    "_target_": "tracer_lightning.data.ShardDataModule",
    "root": "/data",
    "train": {"folder": "pets", "split": "train"},
    "suite": SUITE,
    "texts": {"classnames": {"_target_": "tracer_lightning.data.imagenet_classnames"}, "templates": None},
    "augmentation": {"crop_scale": [0.9, 1.0], "flip": 0.5},
    "eval_decoder": "torchvision",
    "cache_dir": "/theirs",
    **LOADING,
}
SETTINGS = {"backbone": BACKBONE, "data": SHARDS, "suite": SUITE, "primary_metric": "macro_f1"}
MNIST = {"_target_": "tracer_lightning.data.ColouredMNISTDataModule", "root": "x", "download": True}
CONV1D = "tracer_lightning.models.open_clip.embedders.conv1d"
CHOICES = dict.fromkeys(("backbone", "data", "suite"), "checkpoint")


@pytest.fixture
def checkpoint(tmp_path):
    def write(**settings):
        torch.save({"state_dict": {}, "hyper_parameters": SETTINGS | settings}, tmp_path / "run.ckpt")
        return f"checkpoint={tmp_path}/run.ckpt"

    return write


def filled(checkpoint, **composed):
    """A configuration as Hydra composes it, with what the checkpoint brings."""
    groups = {group: composed.get(group, {}) for group in CHOICES}
    path = checkpoint.removeprefix("checkpoint=")
    cfg = OmegaConf.create({"checkpoint": path, "paths": {"cache": "/ours"}, **groups})
    OmegaConf.set_struct(cfg, True)
    return OmegaConf.to_container(with_checkpoint(cfg, CHOICES), resolve=True)


@pytest.mark.parametrize("command", [name for name, entry in COMMANDS.items() if getattr(entry, "checkpoint", None)])
def test_every_command_has_the_groups_that_a_checkpoint_brings(command):
    defaults = yaml.safe_load((Path(CONF) / f"{command}.yaml").read_text())["defaults"]
    groups = {group for entry in defaults if isinstance(entry, dict) for group in entry}
    use = COMMANDS[command].checkpoint
    of_data = {"evaluated": DATA, "diagnosed": DATA, "embedded": ("data",), "exported": ()}[use]
    assert groups >= {*MODEL, *of_data}


def test_a_run_with_an_embedder_brings_the_data_that_standardize_what_is_embedded(checkpoint):
    assert "data=checkpoint" not in inherit_checkpoint_config(["x", checkpoint()], evaluated=False, embedded=True)
    argument = checkpoint(embedder={"_target_": CONV1D, "shape": [2, 6], "max_tokens": None})
    assert inherit_checkpoint_config(["embed.py", argument], evaluated=False, embedded=True) == [
        "embed.py",
        "backbone=checkpoint",
        "embedder=checkpoint",
        "data=checkpoint",
        argument,
    ]


def test_a_run_brings_its_settings(checkpoint):
    argument = checkpoint()
    assert inherit_checkpoint_config(["evaluate.py", argument], evaluated=True) == [
        "evaluate.py",
        "backbone=checkpoint",
        "data=checkpoint",
        "suite=checkpoint",
        "primary_metric=macro_f1",
        argument,
    ]
    assert inherit_checkpoint_config(["export.py", argument], evaluated=False) == [
        "export.py",
        "backbone=checkpoint",
        argument,
    ]
    without = inherit_checkpoint_config(["diagnose.py", argument], evaluated=True, scored=False)
    assert without == ["diagnose.py", "backbone=checkpoint", "data=checkpoint", "suite=checkpoint", argument]
    cfg = filled(argument)
    assert cfg["backbone"] == BACKBONE
    assert cfg["suite"] == SUITE
    assert cfg["data"] == SHARDS | {"cache_dir": "/ours"}


GROUPS = ("data", "backbone", "peft")
OPTIONS = [
    [path.stem for path in sorted(Path(CONF, group).glob("*.yaml")) if path.stem != "checkpoint"] for group in GROUPS
]


@pytest.mark.parametrize(
    "options",  # one of each group, since composing takes most of the time
    [
        pytest.param(options, marks=[pytest.mark.slow] * (number % 4 > 0))
        for number, options in enumerate(itertools.zip_longest(*OPTIONS))
    ],
)
def test_a_checkpoint_brings_every_option(tmp_path, options):
    chosen = {group: option for group, option in zip(GROUPS, options, strict=True) if option}
    with hydra_context():
        cfg = composed(tmp_path, *(f"{group}={option}" for group, option in chosen.items()), tiny=False)
    for group in chosen:
        content = OmegaConf.to_container(cfg[group], resolve=True)
        settings = json.loads(json.dumps(content).replace("???", "x"))  # paths to be set
        assert group_settings({group: settings}, group, "checkpoint=x")


def test_what_is_of_this_machine_is_no_files_to_say(checkpoint):
    data = MNIST | LOADING | {"task": "coloured", "correlation": 0.95, "label": "digit", "desaturation": 0.2}
    assert filled(checkpoint(data=data))["data"] == data | {"download": False}
    few_shot = data | {"shots": 16}
    assert filled(checkpoint(data=few_shot))["data"] == few_shot | {"download": False}


def test_what_the_user_chooses_is_kept(checkpoint):
    named = checkpoint()
    chosen = inherit_checkpoint_config(["evaluate.py", named, "data=pacs", "data.root=x"], evaluated=True)
    assert "data=checkpoint" not in chosen
    assert "suite=checkpoint" not in chosen
    assert chosen[-1] == "data.root=x"
    assert "suite=checkpoint" not in inherit_checkpoint_config(["evaluate.py", named, "suite=pacs"], evaluated=True)
    chosen = inherit_checkpoint_config(["evaluate.py", "primary_metric=ece", named], evaluated=True)
    assert [argument for argument in chosen if argument.startswith("primary_metric=")] == ["primary_metric=ece"]


def test_what_the_user_sets_is_in_force(checkpoint):
    argument = checkpoint()
    overrides = ["data.root=/x y", "suite.photo.role=ood", "~suite.photo", "data.texts.templates=[a {c}]"]
    adopted = inherit_checkpoint_config(["evaluate.py", argument, *overrides], evaluated=True)
    assert adopted[-4:] == ["++data.root=/x y", "++suite.photo.role=ood", "++suite.photo=null", f"++{overrides[3]}"]
    for unknown in ("data.rooot=x", "suite.other.samples=3", "~suite.other", "+suite.more={folder: x}", "seed=3"):
        assert inherit_checkpoint_config(["evaluate.py", argument, unknown], evaluated=True)[-1] == unknown
    cfg = filled(argument, data={"root": "/x", "texts": {"templates": ["a {c}"]}}, suite={"more": {"role": "ood"}})
    assert cfg["data"]["root"] == "/x"
    assert cfg["data"]["texts"] == SHARDS["texts"] | {"templates": ["a {c}"]}
    assert cfg["suite"] == SUITE | {"more": {"role": "ood"}}


def test_the_option_needs_a_checkpoint(tmp_path):
    cfg = OmegaConf.create({"checkpoint": None, "data": {}})
    with pytest.raises(ValueError, match="data=checkpoint: no checkpoint is named"):
        with_checkpoint(cfg, {"data": "checkpoint"})


def test_processes_started_with_the_same_command_line_adopt_the_same(checkpoint):
    once = inherit_checkpoint_config(["evaluate.py", checkpoint(), "data.root=x", "~suite.photo"], evaluated=True)
    assert set(inherit_checkpoint_config(once, evaluated=True)) == set(once)


def test_weights_and_names(tmp_path):
    torch.save(tiny_backbone().model.model.state_dict(), tmp_path / "bare.pt")
    arguments = ["evaluate.py", f"checkpoint={tmp_path}/bare.pt"]
    assert inherit_checkpoint_config(arguments, evaluated=True) == arguments
    assert inherit_checkpoint_config(["evaluate.py", "checkpoint=null"], evaluated=True) == [
        "evaluate.py",
        "checkpoint=null",
    ]
    assert reference("ViT-B-32/laion2b_s34b_b79k") == ("ViT-B-32", "laion2b_s34b_b79k")
    assert reference("hf-hub:a/b") == ("hf-hub:a/b", None)
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert reference(str(tmp_path)) == (f"local-dir:{tmp_path}", None)
    assert weights_file("ViT-B-32/openai") is None
    assert weights_file(None) is None


CALL = {"_target_": "os.system", "command": "true"}
HOSTILE = {
    "backbone": [
        CALL,
        BACKBONE | {"_target_": "tracer_lightning.models.load_clip"},
        BACKBONE | {"_target_": ["os.system"]},
        BACKBONE | {"mean": [CALL, 0.5, 0.5]},
        BACKBONE | {"_partial_": True},
        BACKBONE | {"defaults": [{"/peft@_global_": "checkpoint"}]},
        BACKBONE | {"hydra": {"job_logging": {"formatters": {"x": {"()": "os.getcwd"}}}}},
        BACKBONE | {"vision_cfg": {"image_size": 32, "timm_model_name": "hf-hub:evil/model"}},
        BACKBONE | {"vision_cfg": {"image_size": 32, "timm_model_name": "local-dir:/tmp"}},
        BACKBONE | {"vision_cfg": {"image_size": 32, "act_kwargs": CALL}},
        BACKBONE | {"vision_cfg": {"image_size": 32, "layers": 10**9}},
        BACKBONE | {"vision_cfg": {"image_size": True}},
        BACKBONE | {"text_cfg": {"context_length": 16, "tokenizer_kwargs": {"bpe_path": "/etc/passwd"}}},
        BACKBONE | {"text_cfg": {"context_length": 16, "hf_model_name": "evil/model"}},
        {"_target_": "tracer_lightning.models.load_clip", "name": "${oc.env:HOME}"},
        {"_target_": "tracer_lightning.models.load_clip", "name": "RN50", "pretrained": "${oc.env:HOME}"},
        {"_target_": "tracer_lightning.models.load_clip", "name": "RN50", "pretrained": "???"},
        {"_target_": "tracer_lightning.models.load_clip", "name": "RN50", "load_weights": True},
    ],
    "peft": [
        CALL,
        {"name": "x", "prepare": CALL},
        {"name": "../x", "prepare": {"_target_": "tracer_lightning.models.peft.full"}},
        {"name": "x", "prepare": {"_target_": "tracer_lightning.models.peft.full", "model": CALL}},
        {"name": "x", "prepare": {"_target_": "tracer_lightning.models.peft.add_lora", "rank": 10**9, "scale": 1.0}},
    ],
    "data": [
        CALL,
        SHARDS | {"texts": {"classnames": CALL}},
        SHARDS | {"texts": {"classnames": {"_target_": "tracer_lightning.data.imagenet_classnames", "x": 1}}},
        SHARDS | {"texts": {"classnames": ["${oc.env:HOME}"]}},
        SHARDS | {"suite": {"photo": SUITE["photo"] | {"classes": CALL}}},
        SHARDS | {"root": "${oc.env:HOME}"},
        SHARDS | {"root": "/x\n"},
        SHARDS | {"root": ["/x"]},
        SHARDS | {"num_workers": 10**6},
        SHARDS | {"batch_size": float("nan")},
        SHARDS | {"defaults": ["x"]},
        SHARDS | {"spec": None},
        MNIST | LOADING | {"task": "evil", "correlation": 1.0, "label": "digit", "desaturation": 0.2},
        MNIST | LOADING | {"task": "coloured", "correlation": 1.0, "label": CALL, "desaturation": 0.2},
        {"_target_": "tracer_lightning.data.imagenet_classnames"},
    ],
    "suite": [
        {"defaults": ["/peft@_global_: checkpoint"]},
        {"_target_": "os.getcwd"},
        {"photo": CALL},
        {"photo": SUITE["photo"] | {"defaults": []}},
        {"photo": SUITE["photo"] | {"role": "evil"}},
        {"../photo": SUITE["photo"]},
        {"": SUITE["photo"]},
        {"photo${x}": SUITE["photo"]},
        {"photo": SUITE["photo"] | {"folder": "${oc.env:HOME}"}},
    ],
}
"""What settings of a group must not be."""


def evaluate(argument):
    """Read the settings of a checkpoint as a command does: those of other packages' classes once Hydra is set up."""
    inherit_checkpoint_config(["evaluate.py", argument], evaluated=True)
    return filled(argument)


@pytest.mark.parametrize(("group", "number"), [(group, n) for group in HOSTILE for n in range(len(HOSTILE[group]))])
def test_a_checkpoint_does_not_choose_what_is_called_or_read(checkpoint, group, number):
    argument = checkpoint(**{group: HOSTILE[group][number]})
    with pytest.raises(ValueError, match=f"checkpoint=.*set {group}= yourself"):
        evaluate(argument)
    if group in ("backbone", "peft"):
        with pytest.raises(ValueError, match=f"start=.*set {group}= yourself"):
            own_settings(argument.removeprefix("checkpoint="), "start")


def test_a_whole_model_and_another_backbone_are_refused(tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    for checkpoint in (str(tmp_path), "ViT-B-32/openai", "hf-hub:a/b"):
        with pytest.raises(ValueError, match="give one of them"):
            inherit_checkpoint_config(["evaluate.py", f"checkpoint={checkpoint}", "backbone=rn50"], evaluated=True)


def test_settings_of_another_version_are_named(checkpoint):
    with pytest.raises(ValueError, match="have no data; set data= yourself"):
        inherit_checkpoint_config(["evaluate.py", checkpoint(data=None, primary_metric=None)], evaluated=True)


def test_a_model_says_what_it_is(checkpoint, tmp_path):
    peft = {"name": "none", "prepare": {"_target_": "tracer_lightning.models.peft.full"}}
    path = checkpoint(peft=peft).removeprefix("checkpoint=")
    assert own_settings(path, "start") == {"backbone": BACKBONE, "peft": peft}
    assert own_settings("ViT-B-32/openai", "start")["backbone"]["pretrained"] == "openai"
    torch.save({"state_dict": {}}, tmp_path / "bare.pt")
    assert own_settings(str(tmp_path / "bare.pt"), "start") is None
    with pytest.raises(ValueError, match="start=ViT-B-32: give a tag, too"):
        own_settings("ViT-B-32", "start")


def test_settings_are_plain_and_shallow(checkpoint):
    deep = "x"
    for _ in range(100):
        deep = [deep]
    for node in (torch.zeros(1), deep, {1: 2}, {"a\n": 2}, {3, 4}):
        with pytest.raises(ValueError, match=r"checkpoint=.*: .*settings"):
            inherit_checkpoint_config(["evaluate.py", checkpoint(method=node)], evaluated=True)
    with pytest.raises(ValueError, match="more than 100,000 settings"):
        inherit_checkpoint_config(["evaluate.py", checkpoint(method=[0] * 100_001)], evaluated=True)
    assert not any(
        "primary_metric" in given
        for given in inherit_checkpoint_config(["x", checkpoint(primary_metric=["ece"])], evaluated=True)
    )
