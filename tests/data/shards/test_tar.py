"""Both readers reject members that shards must not have."""

import bz2
import contextlib
import gzip
import io
import struct
import tarfile
import zlib

import numpy as np
import pytest

from tests.data.shards.helpers import seen, shards
from tests.images import grey_png
from tracer_lightning.data.shards.index import scan_shard
from tracer_lightning.data.shards.labels import ClassLabels
from tracer_lightning.data.shards.roots import LocalRoot
from tracer_lightning.data.shards.samples import stream_samples
from tracer_lightning.data.shards.store import Shard, parse_location
from tracer_lightning.data.shards.streaming import read_shard
from tracer_lightning.data.shards.tar import MEMBER_BYTES, TEXT_BYTES, TarBytes
from tracer_lightning.types import EvalSet


def member(name, content=b"", kind=tarfile.REGTYPE, link="", size=None):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512)


def archive(path, *members):
    sound = member("s0.png", grey_png(3)) + member("s0.cls", b"1")
    path.write_bytes(sound + b"".join(members) + b"\0" * 1024)
    return path


def indexed(path):
    return scan_shard(path)


def streamed(path):
    return list(read_shard(Shard(LocalRoot(path.parent), path.name), 0, ClassLabels(3)))


class Pipe(io.RawIOBase):
    """A stream that cannot seek, as a remote one."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.content.readinto(buffer)


def piped(path):
    file = TarBytes(io.BufferedReader(Pipe(path.read_bytes())), path)
    return list(stream_samples(file, lambda entry, suffix: file.read(entry.size)))


READERS = pytest.mark.parametrize("reader", [indexed, streamed, piped])
FORBIDDEN = {
    "absolute": (member("/etc/passwd.png", b"x"), "member '/etc/passwd.png' has a path outside of the archive"),
    "parent": (member("a/../../b.png", b"x"), r"member 'a/\.\./\.\./b\.png' has a path outside of the archive"),
    "long parent": (member(f"../{'x' * 200}.png", b"x"), r"member '\.\./x+\.\.\.' has a path outside of the archive"),
    "symbolic link": (member("s1.png", kind=tarfile.SYMTYPE, link="/etc/passwd"), "member 's1.png' is a link"),
    "long link": (member("s1.png", kind=tarfile.SYMTYPE, link="/x" * 99), "member 's1.png' is a link"),
    "hard link": (member("s1.png", kind=tarfile.LNKTYPE, link="s0.png"), "member 's1.png' is a link"),
    "device": (member("s1.png", kind=tarfile.CHRTYPE), "member 's1.png' is a device"),
    "block device": (member("s1.png", kind=tarfile.BLKTYPE), "member 's1.png' is a device"),
    "pipe": (member("s1.png", kind=tarfile.FIFOTYPE), "member 's1.png' is a pipe"),
    "sparse": (member("s1.png", kind=tarfile.GNUTYPE_SPARSE), "member 's1.png' is a sparse file"),
    "unknown": (member("s1.png", kind=b"Z"), "member 's1.png' is of an unknown kind"),
    "huge": (
        member("s1.png", size=1 << 40),
        rf"member 's1.png' has 1,099,511,627,776 bytes, more than .*{MEMBER_BYTES:,}",
    ),
    "label": (member("s1.cls", size=300 << 20), f"member 's1.cls' has 314,572,800 bytes, more than the {TEXT_BYTES:,}"),
    "caption": (member("s1.txt", size=TEXT_BYTES + 1), f"member 's1.txt' has {TEXT_BYTES + 1:,} bytes, more than"),
    "json": (member("s1.JSON", size=300 << 20), "member 's1.JSON' has 314,572,800 bytes, more than"),
    "name": (
        member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 30),
        "member .* has 1,073,741,824 bytes, more",
    ),
    "pax": (member("x", kind=tarfile.XHDTYPE, size=1 << 30), "member 'x' has 1,073,741,824 bytes, more than"),
    "pax path": (
        member("x", b"20 path=/etc/x.png\n", kind=tarfile.XHDTYPE) + member("s1.png", b"x"),
        "member '/etc/x.png' has a path outside of the archive",
    ),
    "twice": (member("s0.png", b"x"), "member 's0.png' occurs twice"),
}


@READERS
@pytest.mark.parametrize("kind", FORBIDDEN)
def test_members_that_a_shard_must_not_have_raise_errors(tmp_path, reader, kind):
    forbidden, message = FORBIDDEN[kind]
    with pytest.raises(ValueError, match=rf"0\.tar: {message}") as error:
        reader(archive(tmp_path / "0.tar", forbidden))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300 + len(str(tmp_path))


@READERS
def test_folders_and_leading_dots_are_accepted(tmp_path, reader):
    path = archive(
        tmp_path / "0.tar",
        member("./", kind=tarfile.DIRTYPE),
        member("./s1.png", grey_png(1)),
        member("./s1.cls", b"2"),
    )
    result = reader(path)
    assert len(result.label if reader is indexed else result) == 2


@READERS
@pytest.mark.parametrize("size", [b"-1000\0", b"+1000\0", b"0o1000\0", b"1_000\0", b"abc\0"])
def test_invalid_octal_sizes_do_not_cause_endless_loops(tmp_path, reader, size):
    header = bytearray(member("s1.png", b"x"))
    header[124:136] = size.ljust(12, b"\0")
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:512]) + 8 * 32)
    with pytest.raises(ValueError, match=r"0\.tar is damaged at byte"):
        reader(archive(tmp_path / "0.tar", bytes(header)))


@READERS
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gz", "bz2"])
def test_compressed_archives_raise_errors(tmp_path, reader, pack):
    path = archive(tmp_path / "0.tar")
    path.write_bytes(pack(path.read_bytes() + b"\0" * 10_000_000))
    with pytest.raises(ValueError, match=r"0\.tar is compressed, but a shard must be a plain tar file"):
        reader(path)


@READERS
def test_labels_beyond_any_number_of_classes_raise_errors(tmp_path, reader):
    path = archive(tmp_path / "0.tar", member("s1.png", grey_png(1)), member("s1.cls", b"9" * 30))
    if reader is not piped:
        with pytest.raises(ValueError, match=r"0\.tar has the label 9+, which is no class"):
            reader(path)


def test_random_damage_raises_an_error_or_is_harmless(tmp_path):
    rng, path = (
        np.random.default_rng(0),
        archive(tmp_path / "0.tar", member("s1.png", grey_png(1)), member("s1.cls", b"2")),
    )
    content = path.read_bytes()
    for _ in range(300):
        damaged = bytearray(content)
        for place_ in rng.integers(0, len(content), rng.integers(1, 8)):
            damaged[place_] = rng.integers(256)
        path.write_bytes(bytes(damaged)[: rng.integers(1, len(content) + 1)])
        for reader in (indexed, streamed, piped):
            with contextlib.suppress(ValueError):
                reader(path)


def bomb(width, height):
    """A PNG of a few bytes that says it has so many pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("stream", [False, True])
def test_images_of_huge_pixel_counts_are_left_out_and_named(root, stream):
    path = root / "sketch/test/0.tar"
    with tarfile.open(path) as old:
        kept = [(entry.name, old.extractfile(entry).read()) for entry in old]
    path.write_bytes(
        b"".join(member(name, bomb(60_000, 60_000) if name == "s0000001.png" else data) for name, data in kept)
        + b"\0" * 1024
    )
    data = shards(root, stream=stream)
    batches = list(data.eval_loader(EvalSet("sketch", "test", "ood")))
    assert len(seen(batches)) == 10
    lost = [origin for batch in batches for origin in batch.unreadable]
    assert len(lost) == 1
    assert "0.tar" in lost[0]


@pytest.mark.parametrize("shard", ["/etc/0.tar", "../0.tar", "a/../../0.tar"])
def test_shards_lie_below_their_folder(shard):
    with pytest.raises(ValueError, match=r"train: .* must be a relative path within its folder"):
        parse_location("data.train", {"folder": ".", "split": None, "shards": shard})
    with pytest.raises(ValueError, match=r"must be a relative path"):
        parse_location("data.train", {"folder": ".", "split": shard})


def test_texts_of_a_set_are_small_and_texts(root):
    for content, message in ((b"\xff\xfe", "is not UTF-8 text"), (b"a\n" * (1 << 23) + b"a", "has more than")):
        (root / "photo/classnames.txt").write_bytes(content)
        with pytest.raises(ValueError, match=rf"photo/classnames\.txt {message}"):
            shards(root)


@pytest.mark.parametrize("count", ["9" * 12, "-1", "x", "9" * 5000])
def test_numbers_of_shards_are_numbers_of_shards(root, count):
    (root / "photo/train/nshards.txt").write_text(count)
    with pytest.raises(ValueError, match=r"photo/train/nshards\.txt"):
        shards(root).setup("fit")
