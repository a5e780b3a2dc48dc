import io
import os
import tarfile

import numpy as np
import pytest

from tracer_lightning.data.shards.index import index_shard, scan_shard
from tracer_lightning.data.shards.tar import TarBytes, walk


def tar(path, members, fmt=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=fmt) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def sample(number, label, folder=""):
    return [(f"{folder}s{number:07d}.jpg", b"image%d" % number), (f"{folder}s{number:07d}.cls", str(label).encode())]


def read(path, offset, size):
    return path.read_bytes()[offset : offset + size]


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(tmp_path, fmt):
    long = "d" * 90 + "/" + "n" * 120 if fmt != tarfile.USTAR_FORMAT else "d" * 90 + "/" + "n" * 80
    path = tar(tmp_path / "0.tar", [*sample(0, 3), (long + ".png", b"x" * 1000), (long + ".cls", b"7\n")], fmt)
    with tarfile.open(path) as archive:
        expected = [(m.name, m.offset_data, m.size) for m in archive if m.isreg()]
    with path.open("rb") as stream:
        assert [tuple(member) for member in walk(TarBytes(stream, path))] == expected
    index = scan_shard(path)
    assert index.label.tolist() == [3, 7]
    assert read(path, index.image_offset[0], index.image_size[0]) == b"image0"
    assert not index.left_out.any()


def test_samples_with_captions_and_incomplete_ones(tmp_path):
    members = [
        *[("a.jpg", b"1"), ("a.txt", b"a cat"), ("a.json", b"{}")],
        *[("b.cls", b"1")],  # no image
        *[("c.jpg", b"2")],  # neither label nor caption
        *[("d.jpg", b"3"), ("d.cls", b"\n")],  # an empty label
        *[("e.cls", b"4"), ("e.webp", b"5")],
    ]
    path = tar(tmp_path / "0.tar", members)
    index = scan_shard(path)
    assert index.label.tolist() == [-1, 4]
    assert index.left_out.tolist() == [1, 2, 0]
    assert read(path, index.caption_offset[0], index.caption_size[0]) == b"a cat"
    assert index.caption_size[1] == 0


def test_equal_names_in_different_folders_are_different_samples(tmp_path):
    path = tar(tmp_path / "0.tar", [*sample(0, 1, "x/"), *sample(0, 2, "y/")])
    assert scan_shard(path).label.tolist() == [1, 2]


@pytest.mark.parametrize("where", ["header", "data", "end"])
def test_truncated_shards_raise_errors(tmp_path, where):
    path = tar(tmp_path / "0.tar", [*sample(0, 1), ("s1.jpg", b"y" * 5000), ("s1.cls", b"1")])
    content = path.read_bytes()
    length = {"header": 4 * 512 + 100, "data": 4 * 512 + 3000, "end": 4 * 512 + 512 + 5120 + 1024}[where]
    path.write_bytes(content[:length])
    with pytest.raises(ValueError, match=r"0\.tar is truncated at byte"):
        scan_shard(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n" + b" " * 600, "Git LFS pointer"),
        (b"<html>not found</html>" + b" " * 600, "not a tar file"),
    ],
)
def test_other_files_than_shards_raise_errors(tmp_path, content, message):
    path = tmp_path / "0.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        scan_shard(path)


def test_a_short_lfs_pointer_raises_an_error(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ValueError, match="Git LFS pointer"):
        scan_shard(path)


def test_damage_in_the_middle_raises_an_error(tmp_path):
    path = tar(tmp_path / "0.tar", [*sample(0, 1), *sample(1, 1)])
    content = bytearray(path.read_bytes())
    content[4 * 512 + 10] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged at byte 2048"):
        scan_shard(path)


def test_the_index_is_cached_until_the_shard_changes(tmp_path):
    path, cache = tar(tmp_path / "0.tar", sample(0, 1)), tmp_path / "cache"
    first = index_shard(path, cache)
    status = path.stat()
    path.write_bytes(bytes(status.st_size))  # no shard any more, which a scan would notice
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = index_shard(path, cache)
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    tar(path, [*sample(0, 1), *sample(1, 2)])
    assert index_shard(path, cache).label.tolist() == [1, 2]
