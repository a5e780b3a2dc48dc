"""No file that a user might have downloaded is executed, wherever it is read: each plants a marker if it is."""

import json
import os
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import tiny_backbone
from tests.data.shards.helpers import shards
from tests.fuzzing.running import ENTRIES, SMALL, attempt, bounded, entry
from tracer_lightning.commands import train as run_module
from tracer_lightning.config.options import trusted_settings
from tracer_lightning.data.digits import coloured as coloured_digits
from tracer_lightning.data.shards.sources import torchvision_collection
from tracer_lightning.models import load_clip, load_weights
from tracer_lightning.models.open_clip.export import export_clip
from tracer_lightning.reporting.runs import read_run


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def marker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


def test_the_payload_works(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def plant(path, marker, form="archive"):
    """A file of weights with a payload: as torch writes it now, as it wrote it before, or a plain pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"state_dict": Payload(marker), "hyper_parameters": {"backbone": Payload(marker)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "archive")
    return path


FORMS = ("archive", "legacy", "pickle")
NEEDED = {
    "scripts/export.py": ("out=export",),
    "scripts/predict.py": ("images=photos",),
    "scripts/embed.py": ("images=photos",),
}
"""Settings without a default."""
SETTINGS = [
    *(("train.py", setting) for setting in ("init_weights", "resume")),
    *((script, "checkpoint") for script in ENTRIES if script not in ("train.py", "scripts/similarity.py")),
    ("scripts/similarity.py", "first"),
    ("scripts/merge.py", "checkpoints"),
]
QUICK = ((("train.py", "init_weights"), "pickle"), (("train.py", "resume"), "legacy"))


@pytest.mark.parametrize(
    ("script", "setting", "form"),
    [
        pytest.param(*settings, form, marks=[pytest.mark.slow] * ((settings, form) not in QUICK))
        for settings in SETTINGS
        for form in FORMS
    ],
)
def test_weights_are_not_executed(marker, tmp_path, script, setting, form):
    plant(tmp_path / "mine/checkpoints/last.ckpt", marker, form)
    overrides = NEEDED.get(script, ())
    for path in ("mine", "mine/checkpoints/last.ckpt") if form == "archive" else ("mine",):
        several = f"{path},other" if setting == "checkpoints" else path
        with bounded():
            outcome = attempt(entry(script), [*overrides, f"{setting}={several}"], **ENTRIES[script])
        assert outcome.verdict == "refused", outcome
        damaged = setting == "resume" and form != "archive"  # no checkpoint of today's format, whose checksums are read
        assert ("is damaged" if damaged else "not a file of plain weights") in outcome.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "setting"),
    [("scripts/merge.py", "start"), ("scripts/similarity.py", "second"), ("scripts/changed.py", "start")],
)
def test_weights_of_the_other_end_are_not_executed(marker, tmp_path, script, setting):
    torch.save(tiny_backbone().model.model.state_dict(), tmp_path / "bare.pt")
    plant(tmp_path / "evil.pt", marker)
    first = "first" if "similarity" in script else "checkpoint"
    outcome = attempt(entry(script), [f"{first}=bare.pt", f"{setting}=evil.pt", *TINY_BACKBONE], **ENTRIES[script])
    assert outcome.verdict == "refused", outcome
    assert f"{setting}=evil.pt: not a file of plain weights" in outcome.message


TINY_BACKBONE = (
    *("backbone.embed_dim=16", "backbone.vision_cfg.layers=1", "backbone.vision_cfg.width=32"),
    *("backbone.vision_cfg.head_width=16", "backbone.vision_cfg.patch_size=16"),
    *("backbone.text_cfg.layers=1", "backbone.text_cfg.width=16"),
)


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin", "weights.npz", "weights.safetensors"])
def test_a_backbones_own_file_is_not_executed(marker, tmp_path, name):
    with pytest.raises(ValueError, match="not a file of plain weights"):
        load_clip("RN50", str(plant(tmp_path / name, marker)))


def test_torchscript_is_not_executed(marker, tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "archive.pt"))
    with zipfile.ZipFile(tmp_path / "archive.pt") as old, zipfile.ZipFile(tmp_path / "evil.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Payload(marker)) if name.endswith(".pkl") else old.read(name))
    for name in ("archive.pt", "evil.pt"):
        with pytest.raises(ValueError, match="not a file of plain weights"):
            load_clip("RN50", str(tmp_path / name))


def exported(folder):
    export_clip(tiny_backbone(), folder)
    return folder


def test_an_exported_folder_is_not_executed(marker, tmp_path):
    folder = exported(tmp_path / "export")
    (folder / "open_clip_model.safetensors").unlink()
    plant(folder / "open_clip_pytorch_model.bin", marker)
    with pytest.raises(ValueError, match="which is not executed"):
        load_clip(f"local-dir:{folder}")


def test_a_head_is_not_executed_and_must_fit(marker, tmp_path):
    folder = exported(tmp_path / "export")
    plant(folder / "head.safetensors", marker)
    with pytest.raises(ValueError, match=r"head\.safetensors: not a file of plain weights"):
        load_clip(f"local-dir:{folder}")
    for tensors in ({"weight": torch.zeros(3)}, {"weight": torch.zeros(3, 16), "bias": torch.zeros(4)}, {}):
        save_file(tensors, folder / "head.safetensors")
        with pytest.raises(ValueError, match=r"name=.*head\.safetensors"):
            load_clip(f"local-dir:{folder}")


def test_the_code_of_a_tokenizer_is_not_executed(marker, tmp_path):
    folder = exported(tmp_path / "export")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Evil: ...\n")
    with pytest.raises(ValueError, match=r"model_cfg: text_cfg\.tokenizer_kwargs\.trust_remote_code: Extra inputs"):
        load_clip(f"local-dir:{folder}")
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    load_clip(f"local-dir:{folder}")  # with a tokenizer of the library's


def test_a_prerequisites_checkpoint_is_not_executed(marker, tmp_path, monkeypatch):
    plant(tmp_path / "cached.ckpt", marker)
    monkeypatch.setattr(run_module, "prerequisite_checkpoint", lambda cfg: tmp_path / "cached.ckpt")
    outcome = attempt(entry("train.py"), SMALL)
    assert outcome.verdict == "refused", outcome
    assert "cached.ckpt: not a file of plain weights" in outcome.message


def test_an_index_is_not_executed_and_made_again(marker, tmp_path, root):
    whole = len(shards(root).train_source())
    files = list((tmp_path / "cache/indices").glob("*.npz"))
    for file in files:
        np.savez(file, **dict.fromkeys(("image_offset", "label"), np.array([Payload(marker)], dtype=object)))
    assert len(shards(root).train_source()) == whole
    for file in files:
        file.write_bytes(b"PK\x03\x04 no archive")
    assert len(shards(root).train_source()) == whole
    for forge in (encrypted, patched, endless, lone):
        for file in files:
            forge(file)
        assert len(shards(root).train_source()) == whole, forge.__name__


def encrypted(file, flags=1):
    """A bit of the archive's flags is set."""
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(mark)
        while start >= 0:
            content[start + place] |= flags
            start = content.find(mark, start + 4)
    file.write_bytes(bytes(content))


def patched(file):
    """Another bit, of something that Python's zipfile does not know."""
    encrypted(file, 32)


def endless(file):
    """The header tells of more numbers than any memory has."""
    content = file.read_bytes()
    shape = re.search(rb"'shape': \(\d+,\), \}", content)[0]
    forged = b"'shape': (%d,), }" % 10**13
    spare = b" " * (len(forged) - len(shape))
    file.write_bytes(content.replace(shape + spare, forged))


def lone(file):
    """A number in place of a column."""
    with np.load(file) as arrays:
        np.savez(file, **{**arrays, "label": np.array(3)})


@pytest.fixture
def root(tmp_path):
    from tests.data.shards.helpers import write

    for folder, split in (("photo", "train"), ("photo", "test"), ("sketch", "test")):
        write(tmp_path / "sets" / folder, split, 12)
    return tmp_path / "sets"


def test_mnists_processed_files_are_not_executed(marker, tmp_path):
    for name in ("training.pt", "test.pt"):
        plant(tmp_path / f"data/MNIST/processed/{name}", marker)
    coloured_digits.mnist_digits.cache_clear()
    with pytest.raises(ValueError, match=r"root=data: MNIST can't be loaded"):
        coloured_digits.mnist_digits("data", False)
    with pytest.raises(ValueError, match="torchvision can't read MNIST"):
        torchvision_collection("MNIST", tmp_path / "data", "train")


def test_torchvisions_pickles_are_not_executed(marker, tmp_path):
    for number in range(1, 6):
        plant(tmp_path / f"data/cifar-10-batches-py/data_batch_{number}", marker, "pickle")
    for name in ("test_batch", "batches.meta"):
        plant(tmp_path / f"data/cifar-10-batches-py/{name}", marker, "pickle")
    with pytest.raises(ValueError, match="torchvision can't read CIFAR10"):
        torchvision_collection("CIFAR10", tmp_path / "data", "train")
    with pytest.raises(ValueError, match="LSUN: torchvision executes a pickle"):
        torchvision_collection("LSUN", tmp_path / "data", "train")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "a: !!python/object/apply:os.mkdir [{marker}]"),
        ("config.yaml", "a: &a [1,1]\nb: &b [*a,*a]\nc: [*b,*b]\n"),
        ("config.yaml", "[" * 10_000),
        ("config.yaml", "- 1"),
        ("config.yaml", "a: \0"),
        ("results.json", "[" * 100_000),
        ("results.json", "[1]"),
        ("results.json", '{"student": 3, "name": "x", "seed": 0}'),
        ("results.json", '{"student": {"a": {}}, "name": "x", "seed": 1e999}'),
        ("results.json", " " * (1 << 24) + "{}"),
    ],
)
def test_a_run_to_collect_is_read_without_being_executed(marker, tmp_path, name, content):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "results.json").write_text('{"student": {"a": {"accuracy": 1}}, "name": "x", "seed": 0}')
    (tmp_path / name).write_text(content.replace("{marker}", str(marker)))
    with pytest.raises(ValueError, match="is not a valid file of a run"):
        read_run(tmp_path)


PREPARATION = {"_target_": "mine.Preparation", "size": 8}
OPTION = {
    "_target_": "mine.Data",
    "root": "???",
    "cache_dir": "${paths.cache}",
    "seed": "${seed}",
    "scale": 0.5,
    "samples": 200,
    "shuffled": True,
    "names": ["a", "b"],
    "limit": None,
    "sets": {"near": {"centre": 0.0}},
    "extra": {},
    "preparation": PREPARATION,
    "steps": [PREPARATION, {"_target_": "mine.Step"}],
}
"""Settings of a class outside the package, in a YAML file of the user's."""
LOCAL = {"cache_dir": "${paths.cache}"}
SAVED = OPTION | {"root": "/data", "cache_dir": "/theirs", "seed": 3}
"""Settings of a run with this option."""


def trusted(**settings):
    return trusted_settings(SAVED | settings, [OPTION], "data", LOCAL)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"samples": 10**6, "scale": 2, "shuffled": False},
        {"names": []},
        {"names": ["c", "d", "e"]},
        {"limit": 3},
        {"limit": {"a": [1.5, None, "x"]}},
        {"sets": {"near": {"centre": 1.0}}},
        {"sets": None, "names": None, "preparation": None},
        {"extra": {"any": {"b": 1}}},
        {"preparation": PREPARATION | {"size": 9}, "steps": [PREPARATION]},
    ],
)
def test_values_in_the_form_of_the_users_option_are_taken(settings):
    assert trusted(**settings) == SAVED | settings | LOCAL


def test_settings_that_a_run_lacks_are_left_to_the_class():
    settings = {name: value for name, value in SAVED.items() if name not in ("samples", "cache_dir")}
    assert trusted_settings(settings, [OPTION], "data", LOCAL) == settings


def test_any_option_of_the_class_may_fit():
    other_option = {"_target_": "mine.Data", "folder": "x"}
    assert trusted_settings(other_option, [OPTION, other_option], "data", LOCAL) == other_option
    with pytest.raises(ValueError, match=r"data\.folder is no setting of the option"):
        trusted_settings(other_option, [OPTION], "data", LOCAL)


def test_a_class_that_no_option_names_is_refused():
    with pytest.raises(ValueError, match=r"data\._target_='mine\.Data' is not in this package, and no option of data"):
        trusted_settings(SAVED, [], "data", LOCAL)


SHELL = {"_target_": "os.system", "command": "true"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SHELL, r"data\._target_='os.system' is not that of the option"),
        ({"_partial_": True}, r"data\._partial_=True is not that of the option"),
        ({"_args_": ["x"]}, r"data\._args_="),
        ({"samples": SHELL}, r"data\.samples=.* is not of the type of 200"),
        ({"root": SHELL}, r"data\.root\._target_='os.system' is not that of the option"),
        ({"limit": SHELL}, r"data\.limit\._target_="),
        ({"limit": [[SHELL]]}, r"data\.limit\.0\.0\._target_="),
        ({"limit": {"_target_": None}}, r"data\.limit\._target_=None"),
        ({"extra": SHELL}, r"data\.extra\._target_="),
        ({"extra": {"a": {"_call_": 1}}}, r"data\.extra\.a\._call_=1"),
        ({"sets": {"near": SHELL}}, r"data\.sets\.near\._target_="),
        ({"preparation": PREPARATION | {"_target_": "os.system"}}, r"data\.preparation\._target_='os.system'"),
        ({"preparation": {"size": 8}}, r"data\.preparation\._target_=None is not that"),
        ({"preparation": PREPARATION | {"size": "8"}}, r"data\.preparation\.size='8' is not of the type of 8"),
        ({"preparation": PREPARATION | {"more": 8}}, r"data\.preparation\.more is no setting"),
        ({"steps": [PREPARATION, PREPARATION]}, r"data\.steps\.1\._target_='mine.Preparation' is not that"),
        ({"steps": [*OPTION["steps"], PREPARATION]}, r"data\.steps\.2\._target_="),
        ({"names": ["a", SHELL]}, r"data\.names\.1="),
        ({"names": ["a", "b", 3]}, r"data\.names\.2=3 is not of the type of 'b'"),
        ({"names": "a"}, r"data\.names='a' is not of the type"),
        ({"samples": 0.5}, r"data\.samples=0\.5 is not of the type of 200"),
        ({"samples": True}, r"data\.samples=True"),
        ({"shuffled": 1}, r"data\.shuffled=1"),
        ({"scale": "0.5"}, r"data\.scale='0\.5'"),
        ({"scale": float("nan")}, r"data\.scale must be a finite number"),
        ({"samples": 10**400}, r"data\.samples must be a finite number"),
        ({"limit": object()}, r"data\.limit must be a plain value, found a object"),
        ({"root": "${oc.env:HOME}"}, r"data\.root: it must be plain text"),
        ({"root": "???"}, r"data\.root: it must be plain text"),
        ({"root": "/data\n"}, r"data\.root: it must be plain text"),
        ({"seed": "${seed}"}, r"data\.seed: it must be plain text"),
        ({"extra": {"${oc.env:HOME}": 1}}, r"a key of data\.extra: it must be plain text"),
        ({"root": "x" * 5000}, r"data\.root: 5,000 characters, of at most 4,096"),
        ({"command": "true"}, r"data\.command is no setting of the option"),
        ({"sets": {"far": {"centre": 0.0}}}, r"data\.sets\.far is no setting"),
    ],
)
def test_settings_of_another_form_than_the_users_option_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        trusted(**settings)


FORGED = {
    "names": {1: torch.zeros(2)},
    "list": {"state_dict": [1, 2]},
    "expanded head": {"head.weight": torch.zeros(1).expand(10**12, 16), "head.bias": torch.zeros(1)},
    "flat head": {"head.weight": torch.zeros(3)},
    "expanded": {"logit_scale": torch.zeros(1).expand(10**15)},
    "meta": {"logit_scale": torch.zeros((), device="meta")},
    "sparse": {"logit_scale": torch.zeros(2, 2).to_sparse()},
    "complex": {"logit_scale": torch.zeros((), dtype=torch.complex64)},
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_weights_are_named(tmp_path, kind):
    forged = FORGED[kind]
    state = tiny_backbone().model.model.state_dict()
    torch.save({**state, **forged} if "state_dict" not in forged else forged, tmp_path / "forged.pt")
    if "head" in kind:
        students = {f"student.model.{name}": value for name, value in state.items()}
        heads = {f"student.{name}": value for name, value in forged.items()}
        torch.save({"state_dict": students | heads}, tmp_path / "forged.pt")
    with pytest.raises(ValueError, match=r"init_weights=.*forged\.pt"):
        load_weights(tiny_backbone().model, tmp_path / "forged.pt")


def test_a_compressed_archive_may_be_a_bomb(tmp_path):
    torch.save({"a": torch.zeros(10)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as old, zipfile.ZipFile(tmp_path / "b.pt", "w", 8) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(ValueError, match="a compressed archive"):
        load_weights(tiny_backbone().model, tmp_path / "b.pt")
