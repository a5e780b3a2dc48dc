"""Damaged streamed shards and interrupted connections."""

import http.server
import tarfile

import pytest

from tests.data.shards.helpers import rewrite, seen, served, shards
from tests.data.shards.test_streaming import same
from tracer_lightning.types import EvalSet

LFS = b"version https://git-lfs.github.com/spec/v1\n"


class Dropping(http.server.SimpleHTTPRequestHandler):
    """Ends every other connection to a tar in the middle; knows no ranges."""

    drops = 0

    def copyfile(self, source, outputfile):
        content = source.read()
        if self.path.endswith(".tar"):
            Dropping.drops += 1
            if Dropping.drops % 2:
                content = content[: len(content) // 2]
        outputfile.write(content)
        self.close_connection = True


@pytest.mark.parametrize("cache", [False, True])
def test_remote_shards_over_connections_that_drop(root, tmp_path, monkeypatch, cache):
    monkeypatch.setattr("tracer_lightning.data.shards.http.time.sleep", lambda seconds: None)
    options = {"stream": True, "streams": 2, "cache": cache}
    with served(root, Dropping) as address:
        remote = shards(address, cache_dir=str(tmp_path / "remote"), **options)
        same(list(shards(root, **options).train_dataloader()), list(remote.train_dataloader()))
    assert bool(list((tmp_path / "remote").rglob("*.tar"))) == cache
    assert Dropping.drops > 7


def broken(root, path, change):
    tar = root / path
    tar.write_bytes(change(tar.read_bytes()))
    data = shards(root, stream=True)
    data.setup("fit")
    for loader in (data.train_dataloader(), *data.test_dataloader()):
        list(loader)


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (
            "photo/train/0.tar",
            lambda tar: LFS,
            r"^\S+0\.tar is a Git LFS pointer, not a shard; [a-z ]+$",
        ),
        (
            "photo/train/3.tar",
            lambda tar: LFS,
            r"^\S+3\.tar is a Git LFS pointer, not a shard; [a-z ]+$",
        ),
        ("photo/train/6.tar", lambda tar: b"<!doctype html>" * 99, r"6.tar is not a tar file \(perhaps an error page"),
        ("photo/train/2.tar", lambda tar: tar[: tarfile.BLOCKSIZE * 4], r"2.tar is truncated at byte 2048"),
        ("photo/test/1.tar", lambda tar: tar[:700], r"1.tar is truncated at byte 700, "),
    ],
)
def test_damaged_shards_raise_errors(root, path, change, message):
    with pytest.raises(ValueError, match=message):
        broken(root, path, change)


def test_truncation_after_a_complete_sample_raises_an_error(root):
    path = root / "sketch/test/0.tar"
    with tarfile.open(path) as archive:
        end = archive.getmembers()[2].offset
    with pytest.raises(ValueError, match=rf"0.tar is truncated at byte {end}, without an end-of-archive mark"):
        broken(root, "sketch/test/0.tar", lambda tar: tar[:end])


def test_missing_shards_and_impossible_labels_raise_errors(root):
    (root / "photo/train/nshards.txt").write_text("8\n")
    with pytest.raises(ValueError, match=r"no .*7\.tar, although the number of shards includes it"):
        shards(root, stream=True).setup("fit")
    (root / "photo/train/nshards.txt").write_text("6\n")
    with pytest.raises(ValueError, match=r"photo/train/nshards\.txt says 6 shards, but there are 7"):
        shards(root, stream=True).setup("fit")
    (root / "photo/train/nshards.txt").write_text("7\n")
    rewrite(root / "photo/train/3.tar", lambda name, data: (name, b"7" if name.endswith("cls") else data))
    with pytest.raises(ValueError, match=r"3\.tar has the label 7, of 3 classes"):
        list(shards(root, stream=True).train_dataloader())
    rewrite(root / "photo/train/3.tar", lambda name, data: (name, b"-5" if name.endswith("cls") else data))
    for stream in (True, False):
        with pytest.raises(ValueError, match=r"3\.tar has the label -5, of 3 classes"):
            list(shards(root, stream=stream).train_dataloader())


def test_system_files_are_ignored(root):
    """macOS puts ._NAME beside NAME."""
    for tar in (root / "sketch/test").glob("*.tar"):
        with tarfile.open(tar) as archive:
            names = [member.name for member in archive if member.name.endswith("png")]
        with tarfile.open(tar, "a") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(f"._{name}"))
    sketch = EvalSet("sketch", "test", "ood")
    for stream in (True, False):
        assert len(seen(shards(root, stream=stream).eval_loader(sketch))) == 11


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("size", [0, 1, 100, 200, 511])
def test_shards_that_barely_began_raise_errors(root, stream, size):
    tar = root / "photo/train/6.tar"
    tar.write_bytes(tar.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"6\.tar is not a tar file"):
        shards(root, stream=stream).setup("fit")


def test_incomplete_samples_cause_warnings(root):
    rewrite(root / "sketch/test/0.tar", lambda name, data: None if name == "s0000000.cls" else (name, data))
    with pytest.warns(UserWarning, match=r"0\.tar: 1 sample is left out: 1 without label or caption"):
        assert len(seen(shards(root, stream=True).eval_loader(EvalSet("sketch", "test", "ood")))) == 10
