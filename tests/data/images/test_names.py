"""Warnings of classes with equal texts."""

import warnings

import pytest
from open_clip import get_tokenizer

from tests.commands.helpers import make_shards as main
from tests.data.images.test_folder import TEXTS, data
from tests.data.shards.helpers import shards, write
from tests.data.shards.test_make_shards import image, samples, table
from tracer_lightning.data.images.captions import CaptionTable

TOKENIZE = get_tokenizer("ViT-B-32")


@pytest.mark.parametrize("pair", [("dog", " dog"), ("Dog", "dog"), ("hot dog", "hot  dog"), ("a &amp; b", "a & b")])
def test_classes_of_equal_tokens_cause_a_warning(pair):
    with pytest.warns(UserWarning, match="have the same text") as warned:
        CaptionTable(["cat", *pair, pair[0]], ["a {c}.", "{c}"], TOKENIZE)
    (line,) = [str(warning.message) for warning in warned]
    assert line.startswith(f"classes 1 ({pair[0]!r}) and 2 ({pair[1]!r}) have the same text")
    assert "(and 1 more pairs)" in line


def test_distinct_classes_cause_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CaptionTable(["dog", "dogs", "hotdog", "hot dog"], ["a {c}.", "a {d} {c}"], TOKENIZE, ["sketch", "photo"])


def test_in_folders(tmp_path):
    for split in ("train", "val"):
        for name in ("hot_dog", "hot dog", "cat "):
            image(tmp_path / split / name / "0.png")
    module = data(tmp_path, ood={}, texts=TEXTS)
    assert module.classnames == ["cat", "hot dog", "hot dog"]
    with pytest.warns(UserWarning, match=r"classes 1 \('hot dog'\) and 2 \('hot dog'\) have the same text"):
        module.prompts()


@pytest.mark.parametrize("stream", [False, True])
def test_in_shards(tmp_path, stream):
    for split in ("train", "test"):
        write(tmp_path / "sets/photo", split, 12, classes=["dog", "cat", "Dog"])
    module = shards(tmp_path / "sets", stream=stream, suite={"own": {"folder": "photo", "split": "test", "role": "id"}})
    with pytest.warns(UserWarning, match=r"classes 0 \('dog'\) and 2 \('Dog'\) have the same text"):
        module.prompts()


def test_labels_are_stripped(tmp_path, capsys):
    labels = (" bird", "cat ", "bird", "cat")
    for number in range(len(labels)):
        image(tmp_path / f"{number}.png")
    rows = [("path", "label"), *((f"{number}.png", label) for number, label in enumerate(labels))]
    (tmp_path / "names.txt").write_text(" cat\nbird \n")
    for options, expected in (((), "bird\ncat\n"), (("--classnames", str(tmp_path / "names.txt")), "cat\nbird\n")):
        out = tmp_path / f"out{len(options)}"
        assert main(["csv", table(tmp_path / "t.csv", *rows), "--out", str(out), "--verify", *options]) == 0
        assert (out / "classnames.txt").read_text() == expected
        result = sorted(int(sample["cls"]) for sample in samples(out / "train"))
        assert result == [0, 0, 1, 1]


def test_make_shards_warns_of_labels_that_differ_in_case_only(tmp_path):
    for number in range(3):
        image(tmp_path / f"{number}.png")
    rows = [("path", "label"), ("0.png", "Dog"), ("1.png", "dog"), ("2.png", "cat")]
    with pytest.warns(UserWarning, match=r"classes 0 \('Dog'\) and 2 \('dog'\) have the same text"):
        assert main(["csv", table(tmp_path / "t.csv", *rows), "--out", str(tmp_path / "out")]) == 0
