"""Hostile tensor archives, which would take more time or memory than their size suggests."""

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tracer_lightning.storage import check_archive, check_tensors
from tracer_lightning.storage.checkpoints import is_intact


def saved(path):
    torch.save({"state_dict": {"weight": torch.arange(9.0), "bias": torch.zeros(3)}, "step": 3}, path)
    return path


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def deflated(path):
    """A compressed archive; its 4 MiB of zeros could as well be GiB."""
    return archive(path, {"a/data.pkl": b"}.", "a/data/0": bytes(1 << 22)}, zipfile.ZIP_DEFLATED)


def overlapping(path):
    """An archive whose directory lists the same member a thousand times."""
    content = archive(path, {"a/data/0": bytes(1 << 20)}).read_bytes()
    end = content.rindex(b"PK\x05\x06")
    size, start = struct.unpack_from("<2L", content, end + 12)
    forged = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, 1000 * size, start, 0)
    path.write_bytes(content[:start] + content[start:end] * 1000 + forged)
    return path


def crowded(path):
    return archive(path, {f"a/data/{number}": b"" for number in range(20_000)})


def two_directories(path):
    """An archive whose comment is another archive, which some readers would read instead."""
    second = archive(path.with_suffix(".other"), {"a/data.pkl": b"}."}).read_bytes()
    with zipfile.ZipFile(saved(path), "a") as target:
        target.comment = second
    return path


def displaced(path):
    path.write_bytes(b"PK\x03\x04" + b"x" * 100 + saved(path).read_bytes())
    return path


def truncated(path):
    path.write_bytes(saved(path).read_bytes()[:-30])
    return path


HOSTILE = {
    deflated: "compressed",
    overlapping: "overlap",
    crowded: "20,000 members",
    two_directories: "not where it says",
    displaced: "not where it says",
    truncated: "without a directory at its end",
}


@pytest.mark.parametrize(("forge", "message"), HOSTILE.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_hostile_archives_are_rejected(tmp_path, forge, message):
    path = forge(tmp_path / "last.ckpt")
    for check in (check_archive, check_tensors):
        with pytest.raises(ValueError, match=message):
            check(path)
    assert not is_intact(path)


def test_files_of_torch_and_numpy_are_accepted(tmp_path):
    check_tensors(saved(tmp_path / "last.ckpt"))
    assert is_intact(tmp_path / "last.ckpt")
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)).half().state_dict(), tmp_path / "half.pt")
    check_tensors(tmp_path / "half.pt")
    np.savez(tmp_path / "index.npz", label=np.arange(3))
    assert [member.name for member in check_archive(tmp_path / "index.npz")] == [b"label.npy"]
    save_file({"weight": torch.zeros(3)}, tmp_path / "weights.safetensors")
    check_tensors(tmp_path / "weights.safetensors")


def test_zip64_entries_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "wide.pt", "w") as target:
        info = zipfile.ZipInfo("a/data.pkl")
        with target.open(info, "w", force_zip64=True) as member:
            member.write(b"}.")
        info.extra = struct.pack("<2H3Q", 1, 24, 2, 2, 0)
        info.file_size = info.compress_size = 2
    content = bytearray((tmp_path / "wide.pt").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<2L", content, entry + 20, 0xFFFFFFFF, 0xFFFFFFFF)
    (tmp_path / "wide.pt").write_bytes(content)
    assert [member.size for member in check_archive(tmp_path / "wide.pt")] == [2]


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R.", "builtins.bytearray"),
        (b"\x80\x02c_codecs\nencode\nq\0.", "_codecs.encode"),
        (b"\x80\x02ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n.", "_rebuild_device_tensor"),
        (b"\x80\x02" + b"]" * 2_000_000 + b".", "are described in 2,000,003 bytes"),
    ],
)
def test_pickles_that_take_more_memory_or_time_than_their_size_are_rejected(tmp_path, pickled, message):
    for name in ("a/data.pkl", "a/DATA.PKL"):
        path = archive(tmp_path / "file.pt", {name: pickled, "a/version": b"3\n"})
        with pytest.raises(ValueError, match=message):
            check_tensors(path)


def test_safetensors_headers_are_bounded(tmp_path):
    path = tmp_path / "file.safetensors"
    for header in (
        {f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(20_000)},
        {"__metadata__": {str(number): "x" * 100 for number in range(20_000)}},
    ):
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text)
        with pytest.raises(ValueError, match="its header has"):
            check_tensors(path)
    path.write_bytes(struct.pack("<Q", 1 << 60))
    with pytest.raises(ValueError, match="its header has"):
        check_tensors(path)


def test_formats_before_torch_1_6_are_rejected(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"load older files there, and save them again"):
        check_tensors(tmp_path / "old.pt")


def test_random_damage_is_rejected_or_does_not_increase_the_size(tmp_path):
    content = saved(tmp_path / "sound.pt").read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "damaged.pt"
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(len(content) - 700, len(content), rng.integers(1, 4)):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            members = check_archive(path)
        except ValueError:
            continue
        assert sum(member.size for member in members) <= len(content)


def test_pipes_and_folders_are_rejected_before_they_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    (tmp_path / "folder.ckpt").mkdir()
    for name, kind in (("pipe.ckpt", "a pipe"), ("folder.ckpt", "a folder")):
        for check in (check_archive, check_tensors):
            with pytest.raises(ValueError, match=f"is {kind}"):
                check(tmp_path / name)
        assert not is_intact(tmp_path / name)
    (tmp_path / "device.ckpt").symlink_to("/dev/zero")
    assert not is_intact(tmp_path / "device.ckpt")


def test_an_empty_archive_has_no_members(tmp_path):
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    (tmp_path / "empty.npz").write_bytes(buffer.getvalue())
    assert check_archive(tmp_path / "empty.npz") == []
