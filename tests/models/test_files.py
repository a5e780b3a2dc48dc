"""Errors and advice for files and folders without weights."""

import argparse
import gzip
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import tiny_backbone
from tracer_lightning.models import load_clip, load_weights
from tracer_lightning.models.files import check_weights, read_checkpoint, weights_path
from tracer_lightning.models.open_clip.export import export_clip

BYTES = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "Git LFS.*git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s3--ab\n", "git-annex.*git annex get"),
    "page": (b"\n<!DOCTYPE html><html>", "a web page.*/resolve/"),
    "answer": (b"<?xml version='1.0'?><Error>", "XML.*download"),
    "empty": (b"", "an empty file.*download"),
    "json": (b'{"error": "Unauthorized"}', "JSON.*name the weights beside it"),
    "index": (json.dumps({"metadata": {}, "weight_map": {"a": "b"}}).encode(), "weights in several files.*as one"),
    "gzip": (gzip.compress(b"x"), "gzip.*unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd..", "Zstandard.*unpack"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.0.0", "ONNX.*safetensors"),
    "tensorflow": (b"\x08\x01\x12\xaa", "TensorFlow's SavedModel.*safetensors"),
    "flax": (b"\x82\xa6params\x81", "Flax.*safetensors"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5.*safetensors"),
    "gguf": (b"GGUF\x03\0\0\0", "GGUF.*safetensors"),
    "npy": (b"\x93NUMPY\x01", "a NumPy array"),
    "pickle": (pickle.dumps({"a": 1}), "a bare pickle, which is not executed.*pickle.load"),
    "zeros": (bytes(9000), "nothing but zeros.*download"),
    "text": (b"Entry not found", "a text that begins with 'Entry not found'"),
    "noise": (b"\xff\xfe\x01\x02" * 9, "neither what torch.save writes since torch 1.6 nor safetensors.*give a"),
}


def refused(path, message):
    for load in (lambda: load_weights(tiny_backbone().model, path), lambda: load_clip("RN50", str(path))):
        with pytest.raises(ValueError, match=message) as raised:
            load()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", BYTES)
def test_files_without_weights_raise_errors_with_advice(tmp_path, kind, suffix):
    content, message = BYTES[kind]
    (tmp_path / f"file{suffix}").write_bytes(content)
    if (kind, suffix) != ("noise", ".safetensors"):  # it may be a damaged header
        refused(tmp_path / f"file{suffix}", rf"file{suffix}: not a file of plain weights \(.*{message}")


class Whole(torch.nn.Linear):
    """A model that is pickled as an object."""


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_archives_and_pickles_raise_errors(tmp_path):
    state = tiny_backbone().model.model.state_dict()
    torch.save(state, tmp_path / "weights.pt")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "weights.pt", "weights.pt")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "weights.pt", "weights.pt")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(3))
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pt"))
    torch.save(Whole(2, 2), tmp_path / "whole.pt")
    torch.save(Whole(2, 2), tmp_path / "older.pt", _use_new_zipfile_serialization=False)
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": state, "args": argparse.Namespace(lr=0.1)}, tmp_path / "options.pt")
    torch.save({"state_dict": state, "order": np.arange(3)}, tmp_path / "array.pt")
    for name, message in {
        "a.tar": "a tar archive.*unpack",
        "a.zip": r"a zip of other files, such as 'weights\.pt'.*unpack",
        "empty.zip": "an archive without members",
        "a.npz": r"NumPy arrays \(\.npz\)",
        "script.pt": "TorchScript, which is executable code.*hub.*torch.jit.load",
        "whole.pt": r"test_files\.Whole, which is not executed.*x\.state_dict\(\)",
        "older.pt": r"a pickled model in the format before torch 1\.6, which is not executed.*x\.state_dict\(\)",
        "old.pt": r"load older files there, and save them again.*weights_only=True",
        "options.pt": r"argparse\.Namespace, which is not executed.*x\['state_dict'\]",
        "array.pt": r"_reconstruct, which is not executed.*x\['state_dict'\]",
    }.items():
        refused(tmp_path / name, message)


def test_truncated_files_raise_errors(tmp_path):
    state = {name: value.contiguous() for name, value in tiny_backbone().model.model.state_dict().items()}
    torch.save(state, tmp_path / "whole.pt")
    save_file(state, tmp_path / "whole.safetensors")
    for suffix in (".pt", ".safetensors"):
        content = (tmp_path / f"whole{suffix}").read_bytes()
        for length in (5, 100, len(content) // 2, len(content) - 1):
            (tmp_path / f"part{suffix}").write_bytes(content[:length])
            refused(tmp_path / f"part{suffix}", "truncated.*download or copy it again")


@pytest.mark.parametrize("name", ["torch.safetensors", "safetensors.pt", "safetensors.bin"])
def test_files_are_recognised_by_content_and_not_by_name(tmp_path, name):
    state = {key: value.contiguous() for key, value in tiny_backbone(1).model.model.state_dict().items()}
    (torch.save if name.startswith("torch") else save_file)(state, tmp_path / name)
    model = tiny_backbone(2).model
    load_weights(model, tmp_path / name)
    assert torch.equal(model.model.text_projection, state["text_projection"])


def test_weights_are_found_in_folders(tmp_path):
    source, state = tiny_backbone(1), tiny_backbone(1).model.model.state_dict()
    source.model.head = torch.nn.Linear(16, 3)
    export_clip(source, tmp_path / "export")
    for name in ("run/checkpoints/last.ckpt", "download/pytorch_model.bin", "mine/whatever.pth"):
        (tmp_path / name).parent.mkdir(parents=True)
        torch.save(state, tmp_path / name)
    (tmp_path / "download/training_args.bin").write_bytes(b"\x80\x02")
    for name in ("export", "run", "download", "mine"):
        model = tiny_backbone(2).model
        load_weights(model, tmp_path / name)
        assert torch.equal(model.model.text_projection, state["text_projection"])
        assert (model.head is not None) == (name == "export")


def test_folders_without_one_file_of_weights_raise_errors(tmp_path):
    for name in (
        "empty/notes.txt",
        "two/a.pt",
        "two/b.pt",
        "parts/pytorch_model.bin.index.json",
        "ranks/0.distcp",
        "onnx/image.onnx",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "parts/model-00001-of-00002.safetensors").touch()
    for name, message in {
        "empty": r"empty/checkpoints/last\.ckpt: no such file, nor other weights",
        "two": r"contains several files of weights; use one of a\.pt, b\.pt",
        "parts": "contains the index of weights in several files; write them as one",
        "ranks": "a sharded checkpoint, .*dcp_to_torch",
        "onnx": "ONNX models, .* use the run that they were exported from, or export it for open_clip",
    }.items():
        refused(tmp_path / name, message)


def test_unreadable_files_raise_errors_with_the_reason(tmp_path):
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    with pytest.raises(ValueError, match=r"loop\.pt: can't be read: Too many levels of symbolic links"):
        load_weights(tiny_backbone().model, tmp_path / "loop.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(ValueError, match=r"pipe\.pt is a pipe"):
        load_weights(tiny_backbone().model, tmp_path / "pipe.pt")


def test_weights_in_several_files_are_joined_by_their_index(tmp_path):
    weights = {name: torch.full((2,), number) for number, name in enumerate("abc")}
    files = {"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}
    for file in set(files.values()):
        save_file({name: weights[name] for name in weights if files[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    content = read_checkpoint(weights_path(tmp_path, "start"), "start")
    assert content.keys() == weights.keys()
    assert all(torch.equal(content[name], value) for name, value in weights.items())
    (tmp_path / "model-2.safetensors").unlink()
    for read in (read_checkpoint, check_weights):
        with pytest.raises(
            ValueError, match=r"an index whose part model-2\.safetensors is missing\); download or copy"
        ):
            read(index, "start")
    for faulty in ({"a": "../model-1.safetensors"}, {"a": "model-1.bin"}, {}, ["a"]):
        index.write_text(json.dumps({"weight_map": faulty}))
        with pytest.raises(ValueError, match="an index that does not name safetensors files in its folder"):
            read_checkpoint(index, "start")
