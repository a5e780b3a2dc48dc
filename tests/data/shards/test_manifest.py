import io
import json
import tarfile

import pytest

from tests.data.shards.test_writer import members, write
from tracer_lightning.data.shards.manifest import file_hash, verify_shards


def forge(root, index, change):
    """Replace a shard by one of other members that agrees with the manifest in everything but these."""
    path, manifest = root / f"train/{index}.tar", json.loads((root / "train/manifest.json").read_text())
    files = change(members(path))
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    manifest["shards"][index] |= {"bytes": path.stat().st_size, "sha256": file_hash(path)}
    (root / "train/manifest.json").write_text(json.dumps(manifest))


def edit(root, **values):
    path = root / "train/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def flip(root):
    path = root / "train/2.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


def truncate(root):
    path = root / "train/1.tar"
    path.write_bytes(path.read_bytes()[:2000])


def cut(root):
    """Truncated within a member, with a manifest that agrees."""
    truncate(root)
    manifest = json.loads((root / "train/manifest.json").read_text())
    manifest["shards"][1] |= {"bytes": 2000, "sha256": file_hash(root / "train/1.tar")}
    edit(root, shards=manifest["shards"])


def without(suffix):
    return lambda root: forge(root, 1, lambda f: {n: d for n, d in f.items() if n != f"s0000012.{suffix}"})


def labelled(text):
    return lambda root: forge(root, 0, lambda files: files | {"s0000004.cls": text})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip, r"2\.tar does not have the sha256"),
        (truncate, r"1\.tar has 2000 bytes, but manifest\.json says"),
        (cut, r"1\.tar is truncated at byte 2000"),
        (lambda root: (root / "train/3.tar").unlink(), "tar files should be 5, found 4"),
        (lambda root: (root / "train/5.tar").touch(), "tar files should be 5, found 6"),
        (without("cls"), r"1\.tar: sample s0000012 has neither \.cls nor \.txt"),
        (without("jpg"), r"1\.tar: sample s0000012 should have one image"),
        (labelled(b"3"), r"0\.tar: sample s0000004 has label '3', but there are 3 classes"),
        (labelled(b"-1"), "has label '-1'"),
        (labelled(b"cat"), "has label 'cat'"),
        (lambda root: forge(root, 4, lambda f: dict(list(f.items())[2:])), "name of a sample should be s0000040"),
        (lambda root: forge(root, 4, lambda f: dict(list(f.items())[:-2])), "number of samples should be 7, found 6"),
        (lambda root: (root / "train/nshards.txt").write_text("4"), r"nshards\.txt: contents should be 5, found 4"),
        (lambda root: edit(root, samples=48), "samples should be 47, found 48"),
        (lambda root: edit(root, class_counts=[15, 17, 15]), "class_counts should be .16, 16, 15., found .15"),
        (lambda root: edit(root, split="test"), "split should be train, found test"),
        (lambda root: edit(root, format=2), "isn't a manifest of format 1"),
        (lambda root: (root / "train/manifest.json").write_text("{"), r"manifest\.json can't be read"),
        (lambda root: (root / "classnames.txt").write_text("cat\n"), "number of names should be 3, found 1"),
        (lambda root: (root / "zeroshot_classification_templates.txt").write_text("a\n"), "lacks the placeholder"),
        (lambda root: (root / "classnames.txt").unlink(), r"classnames\.txt is missing"),
    ],
)
def test_verification_reports_defects(tmp_path, damage, message):
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        verify_shards(tmp_path, "train")
