"""Attacks by files, names and addresses, with harmless payloads: each ends in one line, quickly, and leaves nothing."""

import json
import os
import struct
import time
import zipfile

import pytest

from tests.data.images.test_decoding import jpeg_in_a_comment
from tests.data.shards.helpers import shards, write
from tests.fuzzing.running import ENTRIES, SMALL, attempt, entry
from tests.storage.test_archives import crowded, deflated, overlapping
from tracer_lightning.data.images.decoding import UnreadableImageError, decode, pil_image
from tracer_lightning.data.shards.manifest import load_manifest
from tracer_lightning.data.shards.store import expand_pattern, parse_location
from tracer_lightning.models import load_clip
from tracer_lightning.reporting.runs import read_run


def pipe(path):
    os.mkfifo(path)
    return path


def device(path):
    path.symlink_to("/dev/zero")
    return path


KINDS = [deflated, overlapping, crowded, pipe, device]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of checkpoints of a run that somebody sent."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs/digits/case/checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("forge", KINDS)
def test_a_checkpoint_of_any_kind_is_refused(run, forge):
    forge(run / "last.ckpt")
    forge(run / "previous.ckpt")
    outcome = attempt(entry("train.py"), [*SMALL, "resume=auto"])
    assert outcome.verdict == "refused", outcome
    assert "last.ckpt" in outcome.message
    assert "previous.ckpt are damaged" in outcome.message
    for script, options in (("scripts/evaluate.py", []), ("scripts/export.py", ["out=export"])):
        outcome = attempt(entry(script), [*options, f"checkpoint={run.parent}"], **ENTRIES[script])
        assert outcome.verdict == "refused", outcome
    assert not (run.parents[3] / "export").exists()


@pytest.mark.parametrize("name", ["open_clip_config.json", "open_clip_model.safetensors", "vocabulary.txt"])
def test_a_pipe_in_an_exported_folder_is_not_opened(tmp_path, name):
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    (tmp_path / name).unlink(missing_ok=True)
    pipe(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe"):
        load_clip(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["config.yaml", "results.json"])
def test_a_pipe_in_a_run_is_not_opened(tmp_path, name):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "results.json").write_text('{"student": {"a": {"accuracy": 1}}, "name": "x", "seed": 0}')
    (tmp_path / name).unlink()
    pipe(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} is a pipe"):
        read_run(tmp_path)


@pytest.mark.parametrize("name", ["classnames.txt", "train/nshards.txt", "train/0.tar"])
def test_a_pipe_in_a_set_of_shards_is_not_opened(tmp_path, name):
    write(tmp_path / "sets/photo", "train", 3)
    (tmp_path / "sets/photo" / name).unlink()
    pipe(tmp_path / "sets/photo" / name)
    suite = {"photo": {"folder": "photo", "split": "train", "role": "id"}}
    with pytest.raises(ValueError, match="is a pipe"):
        shards(tmp_path / "sets", suite=suite).train_source()


UP = ["run=../../../up", "run=", "run=.", "run=a/../../../up", "run=/up", "name=../../up", "name=.."]


@pytest.mark.parametrize(
    ("script", "override"),
    [
        ("train.py", UP[0]),
        pytest.param("scripts/evaluate.py", UP[0], marks=pytest.mark.slow),
        *(pytest.param("train.py", override, marks=pytest.mark.slow) for override in UP[1:]),
    ],
)
def test_no_name_leads_out_of_the_outputs(tmp_path, monkeypatch, script, override):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    outcome = attempt(entry(script), ["hydra.mode=RUN", override], **ENTRIES[script])
    assert outcome.verdict == "refused", outcome
    assert "must be a relative path within its folder" in outcome.message
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize(
    "override", ["method.name=a/../../../../up", pytest.param("seed=/../../../up", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("sweep", ["hydra.mode=MULTIRUN", pytest.param("ablation=terms", marks=pytest.mark.exhaustive)])
def test_no_job_of_a_sweep_leads_out_of_it(tmp_path, monkeypatch, sweep, override):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert attempt(entry("train.py"), [sweep, override]).verdict == "refused"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


PATTERNS = [
    "{x,../../../up}.tar",
    "{..,.}/x.tar",
    "{,/}etc/x.tar",
    "{a,b/../../..}/{0..3}.tar",
    ".{.,x}/0.tar",
    "{/,x}0.tar",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_leads_out_of_its_folder(pattern):
    with pytest.raises(ValueError, match=r"data\.train: .* must be a relative path within its folder"):
        parse_location("data.train", {"folder": "photo", "shards": pattern})


@pytest.mark.parametrize(
    "pattern", ["{0..9999999999}", "{0..999}" * 3, "{a..z}" * 9, "{a,b}" * 99, "{" * 999 + "}" * 999]
)
def test_patterns_are_no_bombs(pattern):
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"more than 1,000,000|nested too deeply|the pattern is longer than"):
        expand_pattern(pattern)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("folder", ["..", "../other", "photo/../../other", "./photo"])
def test_a_folder_of_shards_stays_below_their_root(tmp_path, folder):
    write(tmp_path / "sets/photo", "train", 3)
    write(tmp_path / "other", "train", 3)
    suite = {"photo": {"folder": folder, "split": "train", "role": "id"}}
    with pytest.raises(ValueError, match="must be a relative path within its folder"):
        shards(tmp_path / "sets", suite=suite).setup("fit")


def test_a_manifest_names_no_files_elsewhere(tmp_path):
    write(tmp_path, "train", 3)
    manifest = json.loads((tmp_path / "train/manifest.json").read_text())
    manifest["shards"][0]["file"] = "../../../etc/passwd"
    (tmp_path / "train/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="isn't a manifest of format"):
        load_manifest(tmp_path / "train/manifest.json")


def tiled(side):
    """A TIFF of 10 x 10 pixels in one tile, which says that it is much larger."""
    data = b"\0" * 100
    tags = {
        256: 10,
        257: 10,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: side,
        323: side,
        324: 8 + 2 + 10 * 12 + 4,
        325: len(data),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + data


@pytest.mark.parametrize("data", [jpeg_in_a_comment(16_384), tiled(30_000)], ids=["jpeg", "tiff"])
def test_no_picture_is_larger_than_it_is_taken_for(data):
    for read in (decode, pil_image):
        with pytest.raises(UnreadableImageError, match=r"too large"):
            read(data)


@pytest.mark.slow
def test_entries_of_an_archive_are_never_unpacked_to_paths(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as target:
        target.writestr("../../up/data.pkl", b"\x80\x02}.")
    with pytest.raises(ValueError, match="not a file of plain weights"):
        load_clip("RN50", str(tmp_path / "evil.pt"))
    assert [path.name for path in tmp_path.iterdir()] == ["evil.pt"]
