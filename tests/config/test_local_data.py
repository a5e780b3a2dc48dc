"""Class names and templates from files, and whichever folders there are, as a user gives them."""

import json
import shutil

import pytest
import yaml
from omegaconf import OmegaConf

from tests.commands.helpers import composed, hydra_context, script
from tests.data.images.test_splits import write
from tracer_lightning.commands.cli import task
from tracer_lightning.commands.train import train
from tracer_lightning.config.local_data import local_data
from tracer_lightning.config.saved_settings import group_settings

SIZES = {"train": {"n1": 10, "n2": 10}, "val": {"n1": 3, "n2": 3}, "test": {"n1": 2, "n2": 2}}
OWN = ("data=image_folder", "data.root=pets", "data.batch_size=9", "data.num_workers=0", "trainer.max_epochs=1")


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A folder of images and files of texts, where commands are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "pets", ["train", "val"], SIZES)
    (tmp_path / "names.txt").write_text("Käse\nred wine\n", encoding="utf-8")
    (tmp_path / "templates.txt").write_text("a {c}.\r\nthe {c}!\r\n")
    return tmp_path / "pets"


def configured(key="data.texts.classnames", value="names.txt"):
    cfg = OmegaConf.create({"data": {"root": "pets", "texts": {"classnames": None, "templates": None}}})
    OmegaConf.update(cfg, key, value)
    return cfg


@pytest.mark.slow
def test_a_run_on_own_images_chooses_by_none_that_it_tests_on(pets, tmp_path, monkeypatch, capsys):
    texts = ("data.texts.classnames='~/names.txt'", "data.texts.templates=templates.txt")
    with hydra_context():
        cfg = composed(tmp_path, *OWN, *texts, "optimized_metric=accuracy", "seed=3", "positives=diagonal")
        accuracy = task(cfg, user_wants_traceback=False, job=train)
    out = capsys.readouterr().out
    assert out.count(f"2 of 20 images in {pets}/train (10.0%) are held out of training for validation; the test") == 1
    assert "warning: a batch of 9 has about 18 pairs of images of one class (4.0 for each image, of 2 classes)" in out
    assert accuracy in (0.0, 0.5, 1.0)
    data = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["data"]
    assert data["texts"]["classnames"] == ["Käse", "red wine"]
    assert data["texts"]["templates"] == ["a {c}.", "the {c}!"]
    assert (data["folders"]["val"], data["folders"]["test"]) == ("val", "val")

    write(pets, ["test"], SIZES)  # what was held out stays so
    (tmp_path / "names.txt").unlink()
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    status, out, err = script("evaluate", f"checkpoint={tmp_path}/run", "temperature=val", "hydra.run.dir=evaluated")
    assert status == 0, err
    assert "2 of 20 images" in out
    scores = json.loads((tmp_path / "else/evaluated/evaluation.json").read_text())["student"]
    assert {name: values["n"] for name, values in scores.items() if "n" in values} == {"pets-val": 2, "pets": 6}
    assert scores["pets-val"]["accuracy"] == accuracy
    with hydra_context():
        again = composed(tmp_path, *OWN, f"data.root={pets}", "data.held_out.seed=1", "resume=auto")
        with pytest.raises(SystemExit):
            task(again, user_wants_traceback=False, job=train)
    assert "error: data.held_out.seed: this run has 1 and the checkpoint 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ("data.held_out.fraction=0", "optimized_metric=ece"),
            "optimized_metric=ece: these data have no validation split, and what is watched during training, pets, ",
            marks=pytest.mark.slow,
        ),
        (
            (
                "data.held_out.fraction=0",
                "+callbacks.stop={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/pets/ece}",
            ),
            "callbacks.stop.monitor=val/pets/ece: these data have no validation split",
        ),
        (
            ("data.texts.classnames=short.txt",),
            "data: texts.classnames={cwd}/short.txt has 1 names and {cwd}/pets/",
        ),
        (
            ("data.texts.templates=short.txt",),
            "data.texts.templates: {cwd}/short.txt: line 1: template 'cat'",
        ),
    ],
)
def test_mistakes_are_one_line(pets, tmp_path, capsys, overrides, message):
    (tmp_path / "short.txt").write_text("cat\n")
    with hydra_context(), pytest.raises(SystemExit) as stop:
        task(composed(tmp_path, *OWN, *overrides), user_wants_traceback=False, job=train)
    assert stop.value.code == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message.replace("{cwd}", str(tmp_path)) in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file or directory"),
        (b"", "is empty; write one entry per line"),
        (b"cat\n\ndog\n", "line 2 is blank; write the name of class 1 there"),
        ("cat\nKäse\n".encode("cp1252"), "is not UTF-8 text: line 2 has the byte 0xe4; .* iconv -f CP1252 -t UTF-8"),
        ("cat\ndog\n".encode("utf-16"), "is not UTF-8 text, but UTF-16; convert it with iconv -f UTF-16"),
        ("cat\ndog\n".encode("utf-16-le"), "is not UTF-8 text: line 1 has the byte 0x00"),
        (b"\x89PNG\r\n\x1a\n\0\0", "is not UTF-8 text: line 1 has the byte 0x89"),
        (b"cat\n${oc.env:HOME}\n", "line 2: it must be plain text, without references"),
        (b"cat\n???\n", "line 2: it must be plain text"),
        (b"cat\n" * 50_001, "has 50,001 lines; at most 50,000 are allowed"),
    ],
)
def test_a_file_that_gives_no_names_is_named_with_its_setting(pets, tmp_path, content, message):
    if content is None:
        (tmp_path / "names.txt").unlink()
    else:
        (tmp_path / "names.txt").write_bytes(content)
    expected = rf"data\.texts\.classnames: {tmp_path}/names\.txt:? {message}"
    with pytest.raises(ValueError, match=expected), local_data(configured()):
        pass


@pytest.mark.parametrize("group", ["suite", "data.folders.others"])
def test_sets_of_other_classes_may_name_files_of_texts(pets, tmp_path, group):
    entry = {"folder": "f", "classnames": "names.txt", "templates": "templates.txt"}
    cfg = OmegaConf.create({"data": {"root": "pets", "folders": {"train": "train", "val": "val", "test": "val"}}})
    OmegaConf.update(cfg, group, {"birds": entry, "left-out": None, "listed": {"classnames": ["a"]}}, force_add=True)
    with local_data(cfg) as local:
        assert OmegaConf.select(local, f"{group}.birds.classnames") == ["Käse", "red wine"]
        assert OmegaConf.select(local, f"{group}.birds.templates") == ["a {c}.", "the {c}!"]
        assert OmegaConf.select(local, f"{group}.listed.classnames") == ["a"]
    OmegaConf.update(cfg, f"{group}.birds.templates", "names.txt")
    with (
        pytest.raises(ValueError, match=rf"{group}\.birds\.templates: {tmp_path}/names\.txt: line 1: template"),
        local_data(cfg),
    ):
        pass


def test_other_kinds_of_files_are_refused(pets, tmp_path):
    for key, value in (("data.texts.classnames", "pets"), ("data.texts.templates", str(tmp_path / "pets"))):
        with (
            pytest.raises(ValueError, match=rf"{key}: .*/pets is a folder, not a regular file"),
            local_data(configured(key, value)),
        ):
            pass


def test_what_is_no_path_is_left_as_it_is():
    for value in (["cat"], None, {"_target_": "tracer_lightning.data.imagenet_classnames"}):
        with local_data(configured(value=value)) as cfg:
            assert cfg.data.texts.classnames == value
    with local_data(OmegaConf.create({"data": {}, "x": 1})) as cfg:
        assert cfg == {"data": {}, "x": 1}


SAVED = {
    "_target_": "tracer_lightning.data.ImageFolderDataModule",
    **{"root": "/pets", "folders": {"train": "train", "val": "val", "test": "val"}},
    **{"texts": {"classnames": ["cat"]}, "augmentation": {"crop_scale": [0.9, 1.0], "flip": 0.5}},
    **{"eval_decoder": "pil", "batch_size": 2, "eval_batch_size": 2, "num_workers": 0, "max_bad_fraction": 0.0},
}
"""What a run before ``data.held_out`` says of its data."""


def test_a_checkpoint_names_no_file_of_texts_and_older_ones_trained_on_all_images():
    assert group_settings({"data": SAVED}, "data", "x")["held_out"] == {"fraction": 0.0, "seed": 0}
    newer = {**SAVED, "held_out": {"fraction": 0.2, "seed": 3}}
    assert group_settings({"data": newer}, "data", "x") == newer
    for changed in (
        {"texts": {"classnames": "/etc/hostname"}},
        {"texts": {"templates": "/etc/hostname"}},
        {"held_out": {"fraction": 0.2}},
        {"held_out": {"fraction": 0.2, "seed": "${seed}"}},
        {"held_out": {"fraction": 0.2, "seed": 3, "_target_": "os.mkdir"}},
    ):
        with pytest.raises(ValueError, match="x: its settings: data"):
            group_settings({"data": {**newer, **changed}}, "data", "x")


def test_a_checkpoint_brings_sets_with_classes_of_their_own():
    birds = {"folder": "birds", "classnames": None, "templates": ["a {c}."]}
    folders = {**SAVED["folders"], "others": {"birds": birds, "left-out": None}}
    newer = {**SAVED, "held_out": {"fraction": 0.2, "seed": 3}, "folders": folders}
    assert group_settings({"data": newer}, "data", "x") == newer
    suite = {
        "birds": {"folder": "birds", "split": "test", "role": "other", "classnames": ["a"], "templates": ["{c}"]},
        "shift": {"folder": "shift", "split": "test", "role": "ood", "classes": ["cat", ["dog", 3], [4]]},
    }
    assert group_settings({"suite": suite}, "suite", "x") == suite
    for entry in (
        {"folder": "birds", "classnames": "/etc/hostname", "templates": ["{c}"]},
        {"folder": "birds", "templates": "/etc/hostname"},
        {"folder": "birds", "templates": {"_target_": "os.getcwd"}},
    ):
        with pytest.raises(ValueError, match="x: its settings: data"):
            group_settings({"data": {**newer, "folders": {**folders, "others": {"birds": entry}}}}, "data", "x")
        with pytest.raises(ValueError, match="x: its settings: suite"):
            group_settings({"suite": {"birds": {**suite["birds"], **entry}}}, "suite", "x")


def test_folders_that_were_left_open_are_named(pets):
    for expected in (("val", "val"), ("val", "test")):
        folders = {"train": "train", "val": None, "test": None}  # without ood, as ~data.folders.ood leaves them
        with local_data(OmegaConf.create({"data": {"root": "pets", "folders": folders}})) as cfg:
            assert (cfg.data.folders.val, cfg.data.folders.test) == expected
        write(pets, ["test"], SIZES)
    shutil.rmtree(pets / "val")
    with local_data(OmegaConf.create({"data": {"root": "pets", "folders": folders}})) as cfg:
        assert (cfg.data.folders.val, cfg.data.folders.test) == ("test", "test")
