import csv
import io
import re
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from tests.commands.helpers import make_shards as main
from tests.images import grey_pixels, write_image
from tracer_lightning.data.shards.manifest import verify_shards
from tracer_lightning.data.shards.sources import torchvision_collection

SHARED = Path(__file__).parents[4] / "shared/data"


def image(path, grey=0):
    return write_image(path, grey_pixels(grey, 9, 8))


def samples(folder):
    """Suffixes to contents of every sample of a split."""
    result = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                result.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    return list(result.values())


def table(path, *rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    return str(path)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("cp1252", "line 3 has the byte 0xe4; .*iconv -f CP1252"), ("utf-16", "but UTF-16; convert")],
)
def test_tables_and_names_in_another_encoding_raise_errors(tmp_path, capsys, encoding, expected):
    image(tmp_path / "0.png")
    (tmp_path / "t.csv").write_bytes("path,caption\n0.png,cheese\n0.png,Käse\n".encode(encoding))
    (tmp_path / "names.txt").write_bytes("dog\ncat\nKäse\n".encode(encoding))
    options = ("csv", tmp_path / "t.csv", "--out", tmp_path / "out")
    assert re.search(rf"t\.csv is not UTF-8 text.*{expected}", error(capsys, *options))
    assert re.search(
        rf"names\.txt is not UTF-8 text.*{expected}", error(capsys, *options, "--classnames", tmp_path / "names.txt")
    )
    (tmp_path / "names.txt").write_text("")
    assert "names.txt is empty" in error(capsys, *options, "--classnames", tmp_path / "names.txt")


def error(capsys, *arguments):
    """The one line with which a command fails."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in "".join(lines)
    return lines[-1]


@pytest.fixture
def pets(tmp_path):
    for index, name in enumerate(("big_dog", "cat", "owl")):
        for number, suffix in enumerate(("jpg", "PNG", "webp")):
            image(tmp_path / "pets" / name / f"{number}.{suffix}", 50 * index + number)
    (tmp_path / "pets/cat/notes.txt").touch()
    return tmp_path / "pets"


def test_images_of_a_folder_are_packed_unchanged(pets, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["folder", str(pets), "--out", str(out), "--split", "test", "--max-samples", "4", "--verify"]) == 0
    size = sum(path.stat().st_size for path in out.glob("test/*.tar"))
    assert capsys.readouterr().out == f"{out / 'test'}: 9 samples, 3 shards, {size:,} bytes, verified\n"
    assert (out / "classnames.txt").read_text() == "big dog\ncat\nowl\n"
    assert (out / "zeroshot_classification_templates.txt").read_text() == "a photo of a {c}.\n"
    result = {(suffix, data, s["cls"]) for s in samples(out / "test") for suffix, data in s.items() if suffix != "cls"}
    files = [path for path in pets.rglob("*.*") if path.suffix != ".txt"]
    labels = {"big_dog": b"0", "cat": b"1", "owl": b"2"}
    assert result == {(path.suffix[1:].lower(), path.read_bytes(), labels[path.parent.name]) for path in files}


def test_a_fraction_of_each_class_is_held_out_as_val(pets, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["folder", str(pets), "--out", str(out), "--held-out", "0.4", "--verify"]) == 0
    train, val = ({sample["cls"]: sample for sample in samples(out / split)} for split in ("train", "val"))
    assert len(samples(out / "train")) == 6
    assert len(samples(out / "val")) == 3
    assert set(train) == set(val) == {b"0", b"1", b"2"}
    kept = [(s.get("jpg") or s.get("png") or s.get("webp")) for part in ("train", "val") for s in samples(out / part)]
    assert sorted(kept) == sorted(path.read_bytes() for path in pets.rglob("*.*") if path.suffix != ".txt")
    first = sorted(str(sample) for sample in samples(out / "val"))
    assert main(["folder", str(pets), "--out", str(tmp_path / "other"), "--held-out", "0.4", "--seed", "7"]) == 0
    assert sorted(str(sample) for sample in samples(tmp_path / "other/val")) == first
    capsys.readouterr()
    options = ("folder", pets, "--out", tmp_path / "third")
    assert "fraction must be > 0 and < 1, got 1.0" in error(capsys, *options, "--held-out", "1.0")
    assert "choose another --split" in error(capsys, *options, "--held-out", "0.5", "--split", "val")
    pairs = table(tmp_path / "pairs.csv", ["path", "caption"], ["pets/cat/0.jpg", "a cat"])
    assert "has no class" in error(capsys, "csv", pairs, "--out", tmp_path / "pairs", "--held-out", "0.5")


def test_texts_from_files(pets, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("hound\ncat\nowl\n\n")
    (tmp_path / "templates.txt").write_text("a {c}.\nthe {c}.\n")
    texts = ["--classnames", tmp_path / "names.txt", "--templates", tmp_path / "templates.txt"]
    assert main([str(a) for a in ("folder", pets, "--out", tmp_path / "out", *texts)]) == 0
    assert (tmp_path / "out/classnames.txt").read_text() == "hound\ncat\nowl\n"
    (tmp_path / "names.txt").write_text("hound\n")
    message = error(capsys, "folder", pets, "--out", tmp_path / "out", *texts)
    assert "there are 1 classnames" in message
    assert "class folders: 3" in message
    (tmp_path / "names.txt").write_text("owl\ncat\nbig dog\n")
    message = error(capsys, "folder", pets, "--out", tmp_path / "out", *texts)
    assert "classnames has the names of the data set in another order: class 0 is 'big dog' there" in message


def write_mnist(root, count=30):
    """MNIST's own files, of noise."""
    rng = np.random.default_rng(0)
    (root / "MNIST/raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        pixels, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)
        for name, head, data in (
            ("images-idx3", struct.pack(">4i", 2051, count, 28, 28), pixels),
            ("labels-idx1", struct.pack(">2i", 2049, count), labels),
        ):
            (root / f"MNIST/raw/{part}-{name}-ubyte").write_bytes(head + bytes(data))
    return root


@pytest.mark.parametrize("split", ["train", "test"])
def test_torchvision_pixels_are_encoded_losslessly(split, tmp_path):
    root = write_mnist(tmp_path)
    assert main(["torchvision", "MNIST", str(root), "--out", str(tmp_path / "out"), "--split", split]) == 0
    result = {
        (np.array(Image.open(io.BytesIO(sample["png"]))).tobytes(), int(sample["cls"]))
        for sample in samples(tmp_path / "out" / split)
    }
    original = torchvision.datasets.MNIST(root, train=split == "train")
    assert result == {(np.array(image).tobytes(), label) for image, label in original}
    assert (tmp_path / "out/classnames.txt").read_text().startswith("0 - zero\n")


@pytest.mark.skipif(not (SHARED / "MNIST").is_dir(), reason="needs shared/data")
def test_torchvision_mnist():
    samples = torchvision_collection("MNIST", SHARED, "test", [str(digit) for digit in range(10)])
    assert len(samples.samples) == 10_000
    image, label = torchvision.datasets.MNIST(SHARED, train=False)[7]
    assert (np.array(Image.open(io.BytesIO(samples.samples[7].read()))) == np.array(image)).all()
    assert samples.samples[7].label == label
    assert samples.samples[7].read() == samples.samples[7].read()


def test_torchvision_files_are_not_encoded_again(tmp_path):
    names = [f"{name}/{name}_{number}" for name in ("banded", "dotted") for number in range(3)]
    for name in names:
        image(tmp_path / f"dtd/dtd/images/{name}.jpg", len(name))
    (tmp_path / "dtd/dtd/labels").mkdir()
    (tmp_path / "dtd/dtd/labels/train1.txt").write_text("".join(f"{name}.jpg\n" for name in names))
    assert main(["torchvision", "DTD", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    files = {(tmp_path / f"dtd/dtd/images/{name}.jpg").read_bytes() for name in names}
    assert {sample["jpg"] for sample in samples(tmp_path / "out/train")} == files
    assert verify_shards(tmp_path / "out", "train")["class_counts"] == [3, 3]


def test_torchvision_mistakes(tmp_path, capsys):
    to = ("--out", tmp_path / "out")
    assert "has no 'NMIST'" in error(capsys, "torchvision", "NMIST", tmp_path, *to)
    assert "where it must already be: Dataset not found" in error(capsys, "torchvision", "MNIST", tmp_path, *to)
    assert "must be train or test, got 'val'" in error(capsys, "torchvision", "MNIST", ".", *to, "--split", "val")


def test_csv_with_names_indices_or_captions(tmp_path):
    for name in ("a", "b", "c"):
        image(tmp_path / f"images/{name}.png", ord(name))
    (tmp_path / "names.txt").write_text("yak\nant\ncow\n")
    named = table(tmp_path / "named.csv", ["path", "label"], ["images/a.png", "yak"], ["images/b.png", "ant"])
    indexed = table(tmp_path / "indexed.csv", ["label", "path"], ["0", "images/a.png"], ["2", "images/b.png"])
    captions = table(tmp_path / "captions.csv", ["path", "caption"], ["images/c.png", "a cow, grazing"])
    both = table(
        tmp_path / "both.csv",
        ["path", "label", "caption"],
        ["images/a.png", "yak", "häirig"],
        ["images/b.png", "", "only words"],
        ["images/c.png", "ant", ""],
    )
    names = ["--classnames", str(tmp_path / "names.txt")]
    result, files = {}, {"sorted": named, "named": named, "indexed": indexed, "captions": captions, "both": both}
    for name, file in files.items():
        extra = names if name in ("named", "indexed") else []
        assert main(["csv", file, "--out", str(tmp_path / name), "--verify", *extra]) == 0
        result[name] = {
            tuple(s.get(k, b"").decode() for k in ("cls", "txt")) for s in samples(tmp_path / name / "train")
        }
    assert (tmp_path / "sorted/classnames.txt").read_text() == "ant\nyak\n"
    assert result == {
        "sorted": {("0", ""), ("1", "")},
        "named": {("0", ""), ("1", "")},
        "indexed": {("0", ""), ("2", "")},
        "captions": {("", "a cow, grazing")},
        "both": {("1", "häirig"), ("", "only words"), ("0", "")},
    }
    by_label = {s["cls"]: s["png"] for s in samples(tmp_path / "named/train")}
    assert by_label[b"0"] == (tmp_path / "images/a.png").read_bytes()


def test_csv_mistakes(tmp_path, capsys):
    image(tmp_path / "a.png")
    (tmp_path / "twice.txt").write_text("crane\ncrane\n")

    def fails(*rows, options=()):
        file = table(tmp_path / "table.csv", *rows)
        return error(capsys, "csv", file, "--out", tmp_path / "out", *options)

    twice = ("--classnames", tmp_path / "twice.txt")
    assert "gone.png is missing" in fails(["path", "label"], ["gone.png", "cat"])
    assert "columns must be path with label, caption or both" in fails(["path", "lable"], ["a.png", "cat"])
    assert "columns must be path with label, caption or both" in fails(["path"], ["a.png"])
    assert "lacks the column path" in fails(["file", "label"], ["a.png", "cat"])
    assert "pass classnames that name them" in fails(["path", "label"], ["a.png", "3"])
    assert "label '2', which isn't among the 2" in fails(["path", "label"], ["a.png", "2"], options=twice)
    assert "label 'cat', which isn't among the 2" in fails(["path", "label"], ["a.png", "cat"], options=twice)
    assert "two classes are called 'crane'" in fails(["path", "label"], ["a.png", "crane"], options=twice)
    assert "line 2 does not have as many values" in fails(["path", "caption"], ["a.png", "a cat", " asleep"])
    assert "a.png has neither label nor caption" in fails(["path", "caption"], ["a.png", ""])
    assert "table.csv is not an image" in fails(["path", "caption"], ["table.csv", "a table"])
    assert "has no samples" in fails(["path", "caption"])
    assert "none.csv is missing" in error(capsys, "csv", tmp_path / "none.csv", "--out", tmp_path / "out")


@pytest.fixture
def wild(tmp_path):
    """Two images per split; categories.csv has a class that no image has."""
    rows = [
        ["", split, number, f"{split}{number}.jpg", "2020-01-01"]
        for split in ("train", "val", "test", "id_val", "id_test")
        for number in range(2)
    ]
    for row in rows:
        image(tmp_path / "iwildcam_v2.0/train" / row[3], len(row[1]))
    table(tmp_path / "iwildcam_v2.0/metadata.csv", ["", "split", "y", "filename", "datetime"], *rows)
    table(tmp_path / "iwildcam_v2.0/categories.csv", ["y", "name"], [1, "gazelle"], [99999, "start"], [0, "empty"])
    return tmp_path


def test_iwildcam_has_a_root_per_split(wild, capsys):
    assert main(["iwildcam", str(wild), "--out", str(wild / "out"), "--verify"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    written = ["iwildcam_id_test/test", "iwildcam_id_val/val", "iwildcam_ood_test/test", "iwildcam_train/train"]
    assert sorted(str(p.parent.relative_to(wild / "out")) for p in wild.glob("out/*/*/nshards.txt")) == written
    for root, split in (path.split("/") for path in written):
        assert (wild / "out" / root / "classnames.txt").read_text() == "empty\ngazelle\n"
        assert verify_shards(wild / "out" / root, split)["class_counts"] == [1, 1]
    result = {sample["jpg"] for sample in samples(wild / "out/iwildcam_ood_test/test")}
    assert result == {(wild / f"iwildcam_v2.0/train/test{number}.jpg").read_bytes() for number in range(2)}


def test_iwildcam_has_the_names_of_a_table_of_classes(wild, recwarn):
    categories = wild / "labels.csv"
    table(categories, ["y", "category_id", "name", "english"], [0, 0, "empty", "empty"], [1, 7, "gazella", "a gazelle"])
    command = ("iwildcam", str(wild), "--out", str(wild / "out"))
    assert main([*command, "--labels", str(categories)]) == 0
    assert (wild / "out/iwildcam_train/classnames.txt").read_text() == "empty\na gazelle\n"
    assert not recwarn
    with pytest.warns(UserWarning, match="has scientific names"):
        assert main([*command, "--overwrite"]) == 0
    assert (wild / "out/iwildcam_train/classnames.txt").read_text() == "empty\ngazelle\n"


def test_iwildcam_mistakes(wild, capsys):
    command = ("iwildcam", wild, "--out", wild / "out")
    (wild / "iwildcam_v2.0/train/id_test1.jpg").unlink()
    assert "id_test1.jpg is missing" in error(capsys, *command)
    table(wild / "iwildcam_v2.0/categories.csv", ["y", "name"], [0, "empty"])
    assert "doesn't name class 1" in error(capsys, *command)
    (wild / "iwildcam_v2.0/categories.csv").unlink()
    assert "pass classnames instead" in error(capsys, *command)
    assert "metadata.csv is missing" in error(capsys, "iwildcam", wild / "nowhere", "--out", wild / "out")


def test_other_mistakes_end_with_one_line(pets, tmp_path, capsys):
    to = ("--out", tmp_path / "out")
    (tmp_path / "hollow/cat").mkdir(parents=True)
    assert "contains no images" in error(capsys, "folder", tmp_path / "hollow", *to)
    assert "contains no class folders" in error(capsys, "folder", tmp_path / "hollow/cat", *to)
    assert "is not a folder" in error(capsys, "folder", tmp_path / "nowhere", *to)
    assert "invalid choice: 'floder'" in error(capsys, "floder", pets, *to)
    assert "--out" in error(capsys, "folder", pets)
    assert "max_samples must be" in error(capsys, "folder", pets, *to, "--max-samples", "0")
    assert "names.txt" in error(capsys, "folder", pets, *to, "--classnames", tmp_path / "names.txt")
    assert main(["folder", str(pets), *map(str, to)]) == 0
    assert "begun with seed 0" in error(capsys, "folder", pets, *to, "--seed", "1")
    assert main(["folder", str(pets), *map(str, to), "--seed", "1", "--overwrite"]) == 0
