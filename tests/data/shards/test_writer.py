import json
import shutil
import signal
import subprocess
import tarfile
from dataclasses import replace

import pytest
import webdataset as wds

from tests.faults.children import in_a_child
from tests.faults.events import kill_before
from tests.images import grey_png
from tests.storage.mounts import mounted
from tracer_lightning.data.shards.manifest import verify_shards
from tracer_lightning.data.shards.packing import SourceSample
from tracer_lightning.data.shards.writer import SampleCollection, write_shards
from tracer_lightning.storage import file_lock
from tracer_lightning.storage.shard_layout import ShardLayout

NAMES = ["cat", "dog", "owl"]
TEMPLATES = ["a {c}.", "a photo of a {c}."]
PNG = grey_png(128)
PNG += bytes(len(PNG) % 2)
LAYOUT = ShardLayout(seed=3, max_samples=10)


def collection(count=47, read=None, caption=None):
    """Images of different lengths, by bytes behind their end; the writer doesn't care what is in them."""
    read = read or (lambda index: PNG + bytes([index, 255 - index]) * (300 + 40 * index - len(PNG) // 2))
    items = [
        SourceSample(
            lambda index=index: read(index), f"{index}.jpg", "jpg", index % 3, caption and f"{caption} {index}"
        )
        for index in range(count)
    ]
    return SampleCollection(items, NAMES)


def write(root, samples=None, layout=LAYOUT, **options):
    return write_shards(samples or collection(), root, "train", TEMPLATES, layout, **options)


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def members(path):
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_the_layout_is_that_of_clip_benchmark(tmp_path):
    done = []
    manifest = write(tmp_path, on_progress=done.append)
    assert sorted(contents(tmp_path)) == sorted(
        ["classnames.txt", "zeroshot_classification_templates.txt", "train/manifest.json", "train/nshards.txt"]
        + [f"train/{index}.tar" for index in range(5)]
    )
    assert (tmp_path / "classnames.txt").read_text() == "cat\ndog\nowl\n"
    assert (tmp_path / "zeroshot_classification_templates.txt").read_text() == "a {c}.\na photo of a {c}.\n"
    assert (tmp_path / "train/nshards.txt").read_text() == "5\n"
    assert manifest == json.loads((tmp_path / "train/manifest.json").read_text()) == verify_shards(tmp_path, "train")
    assert manifest["samples"] == 47
    assert manifest["class_counts"] == [16, 16, 15]
    assert [shard["samples"] for shard in manifest["shards"]] == [10, 10, 10, 10, 7]
    assert done == [10, 20, 30, 40, 47]
    with tarfile.open(tmp_path / "train/0.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_two_runs_are_byte_identical_and_seeds_differ(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write(tmp_path / name, layout=replace(LAYOUT, seed=seed))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["train/0.tar"] != contents(tmp_path / "c")["train/0.tar"]


def test_webdataset_reads_every_image_bit_for_bit(tmp_path):
    samples = collection(caption="number")
    write(tmp_path, samples)
    urls = [str(tmp_path / f"train/{index}.tar") for index in range(5)]
    read = list(wds.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [f"s{index:07d}" for index in range(47)]
    result = {(sample["jpg"], int(sample["cls"]), sample["txt"].decode()) for sample in read}
    assert result == {(item.read(), item.label, item.caption) for item in samples.samples}
    labels = [int(sample["cls"]) for sample in read]
    assert labels != [index % 3 for index in range(47)]


def test_shards_keep_within_their_bytes(tmp_path):
    manifest = write(tmp_path, layout=ShardLayout(max_bytes=30_000))
    sizes = [shard["bytes"] for shard in manifest["shards"]]
    assert len(sizes) > 3
    assert max(sizes) <= 30_000
    alone = write(tmp_path / "alone", collection(5), layout=ShardLayout(max_bytes=1))
    assert [shard["samples"] for shard in alone["shards"]] == [1] * 5


def test_pairs_without_classes(tmp_path):
    items = [item._replace(label=None) for item in collection(caption="número").samples]
    manifest = write(tmp_path, SampleCollection(items, []))
    assert manifest["num_classes"] == 0
    assert verify_shards(tmp_path, "train")["samples"] == 47
    assert not any(name.endswith("cls") for name in members(tmp_path / "train/0.tar"))


def interrupt(root, samples_before):
    """A run that is interrupted at a sample, with half a shard written."""
    left = iter(range(samples_before))
    sound = collection()

    def dying(item):
        def read():
            if next(left, None) is None:
                raise KeyboardInterrupt
            return item.read()

        return item._replace(read=read)

    with pytest.raises(KeyboardInterrupt):
        write(root, sound._replace(samples=[dying(sample) for sample in sound.samples]))


def test_a_killed_run_is_continued_and_ends_the_same(tmp_path):
    write(tmp_path / "whole")
    root = tmp_path / "killed"
    interrupt(root, 26)
    assert {path.name for path in (root / "train").iterdir()} == {"0.tar", "1.tar", "journal.json"}
    with pytest.raises(ValueError, match=r"manifest\.json is missing; write the shards"):
        verify_shards(root, "train")
    before = {index: (root / f"train/{index}.tar").stat().st_mtime_ns for index in (0, 1)}
    write(root)
    assert contents(root) == contents(tmp_path / "whole")
    assert before == {index: (root / f"train/{index}.tar").stat().st_mtime_ns for index in (0, 1)}


@pytest.mark.slow
def test_a_kill_during_replacement_leaves_no_complete_looking_mixture(tmp_path):
    different = collection(30)._replace(classnames=["ant", "bee", "cat"])
    write(tmp_path / "old")
    write(tmp_path / "new", different)
    for number in range(1, 20):
        root = tmp_path / f"killed{number}"
        shutil.copytree(tmp_path / "old", root)

        def killed(number=number, root=root):
            kill_before(number, root)
            write(root, different, overwrite=True)

        assert in_a_child(killed, tmp_path / "log.txt") == signal.SIGKILL
        if (root / "train/nshards.txt").exists():
            assert contents(root).items() >= contents(tmp_path / "old").items()
        write(root, different, overwrite=True)
        assert contents(root) == contents(tmp_path / "new")


def test_unrelated_files_in_the_folder_are_kept(tmp_path):
    interrupt(tmp_path, 26)
    (tmp_path / "train/9.tar.tmp").write_text("a user's")
    (tmp_path / "train/notes.tmp").mkdir()
    (tmp_path / "train/10.tar").mkdir()
    write(tmp_path)
    assert (tmp_path / "train/9.tar.tmp").read_text() == "a user's"
    assert (tmp_path / "train/notes.tmp").is_dir()


def test_only_one_process_writes_a_split(tmp_path):
    interrupt(tmp_path, 26)
    before = contents(tmp_path)
    with (
        file_lock(tmp_path / "train"),
        pytest.raises(ValueError, match="train: another process is writing"),
    ):
        write(tmp_path)
    assert contents(tmp_path) == before


def test_writing_continues_after_a_full_disk(tmp_path):
    with mounted(tmp_path / "disk", "96k") as disk:
        with pytest.raises(OSError, match=r"No space left on device"):
            write(disk)
        assert not list(disk.rglob(".tracer-partial-*"))
        assert not (disk / "train/manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        write(disk)
        write(tmp_path / "whole")
        assert contents(disk) == contents(tmp_path / "whole")


def test_killed_before_the_journal_knew_of_the_shard(tmp_path):
    write(tmp_path / "whole")
    root = tmp_path / "killed"
    interrupt(root, 26)
    (root / "train/2.tar").write_bytes(b"renamed, but not recorded")
    write(root)
    assert contents(root) == contents(tmp_path / "whole")


def test_only_damaged_shards_are_written_again(tmp_path):
    write(tmp_path)
    complete = contents(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("train/*.tar")}
    (tmp_path / "train/1.tar").write_bytes(b"")
    (tmp_path / "train/3.tar").unlink()
    write(tmp_path)
    assert contents(tmp_path) == complete
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("train/*.tar")}
    assert {name for name in before if before[name] != after[name]} == {"1.tar", "3.tar"}


@pytest.mark.parametrize(
    ("different", "message"),
    [
        ({"layout": replace(LAYOUT, seed=4)}, "begun with seed 3; use the same"),
        ({"layout": replace(LAYOUT, max_samples=7)}, "begun with max_samples 10"),
        ({"samples": collection(46)}, "begun with another source"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_another_run_raises_an_error_or_starts_over(tmp_path, different, message, finished):
    root = tmp_path / "out"
    if finished:
        write(root)
    else:
        interrupt(root, 26)
    before = contents(root)
    with pytest.raises(ValueError, match=message):
        write(root, **different)
    assert contents(root) == before
    write(root, **different, overwrite=True)
    write(tmp_path / "fresh", **different)
    assert contents(root) == contents(tmp_path / "fresh")


def test_foreign_shards_and_texts_of_other_splits_are_respected(tmp_path):
    (tmp_path / "foreign/train").mkdir(parents=True)
    (tmp_path / "foreign/train/0.tar").write_bytes(b"precious")
    with pytest.raises(ValueError, match=r"contains shards without manifest\.json"):
        write(tmp_path / "foreign")
    write(tmp_path)
    write_shards(collection(5), tmp_path, "test", TEMPLATES, LAYOUT)
    with pytest.raises(ValueError, match=r"classnames\.txt differs from that of split 'more', but test, train use it"):
        write_shards(collection(5)._replace(classnames=["a", "b", "c"]), tmp_path, "more", TEMPLATES, LAYOUT)
    assert not (tmp_path / "more").exists()


def test_samples_and_texts_that_cannot_be_written(tmp_path):
    good = collection(3)
    for change, message in (
        ({"label": 3}, r"0\.jpg has label 3, but there are 3 classnames"),
        ({"label": None}, r"0\.jpg has neither label nor caption"),
        ({"read": bytes}, r"0\.jpg is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "out", SampleCollection([good.samples[0]._replace(**change)], NAMES))
    with pytest.raises(ValueError, match="has no samples"):
        write(tmp_path, SampleCollection([], NAMES))
    with pytest.raises(ValueError, match="class 1 is called ''"):
        write(tmp_path, good._replace(classnames=["cat", "", "owl"]))
    with pytest.raises(ValueError, match="must be one line with the placeholder"):
        write_shards(good, tmp_path, "train", ["a photo"], LAYOUT)
    with pytest.raises(ValueError, match="split must be a folder name"):
        write_shards(good, tmp_path, "../train", TEMPLATES, LAYOUT)
    with pytest.raises(ValueError, match="max_samples must be >= 1, got 0"):
        ShardLayout(max_samples=0)
