"""Tars that other programs write: their order, names and labels; and samples that lack something."""

import json

import pytest

from tests.commands.helpers import make_shards as main
from tests.data.shards.helpers import CLASSES, rewrite, seen, shards, write
from tests.data.shards.test_index import tar
from tests.data.shards.test_make_shards import error, image, samples, table
from tests.images import grey_png
from tracer_lightning.data.shards.labels import ClassLabels

READERS = pytest.mark.parametrize("stream", [False, True], ids=["indexed", "stream"])
SUITE = {"own": {"folder": "odd", "split": "test", "role": "id"}}
SIZE = 12
ALL_SAMPLES = [(number, number % 3) for number in range(SIZE)]


def odd(tmp_path, members, stream, split="train"):
    """A data module that trains on a tar of such members, and what is said of them."""
    write(tmp_path / "odd", "test", SIZE)
    (tmp_path / "odd" / split).mkdir(exist_ok=True)
    for path in (tmp_path / "odd" / split).glob("*.tar"):
        path.unlink()
    tar(tmp_path / "odd" / split / "0.tar", members)
    (tmp_path / "odd" / split / "nshards.txt").write_text("1\n")
    (tmp_path / "odd" / split / "manifest.json").unlink(missing_ok=True)
    options = {"train": {"folder": "odd", "split": split}, "suite": SUITE, "batch_size": SIZE, "streams": 1}
    return shards(tmp_path, stream=stream, **options)


def trained(module):
    """(grey level, class) of a training epoch."""
    return seen(module.train_dataloader())


def members(name="s{:03d}", label=lambda n: str(n % 3), label_suffix="cls", image_suffix="png"):
    return [
        part
        for n in range(SIZE)
        for part in (
            (f"{name.format(n)}.{image_suffix}", grey_png(n)),
            (f"{name.format(n)}.{label_suffix}", label(n).encode()),
        )
    ]


@READERS
@pytest.mark.parametrize("name", ["img.v2.{:03d}", "2024.01.05-{:03d}", "a.b/c.d.{:03d}", "x.jpg.{:03d}"])
def test_dots_in_names_are_part_of_the_key(tmp_path, stream, name):
    assert trained(odd(tmp_path, members(name), stream)) == ALL_SAMPLES


@READERS
def test_further_members_of_a_sample_are_ignored(tmp_path, stream):
    """Members whose suffix begins at the first dot, as in the webdataset library."""
    extra = [part for n in range(SIZE) for part in (*members()[2 * n : 2 * n + 2], (f"s{n:03d}.seg.png", grey_png(99)))]
    assert trained(odd(tmp_path, extra, stream)) == ALL_SAMPLES


@pytest.mark.parametrize(
    ("suffix", "label"),
    [
        ("cls", lambda n: CLASSES[n % 3]),
        ("cls", lambda n: f" {CLASSES[n % 3].upper()}\n"),
        ("cls", lambda n: json.dumps(CLASSES[n % 3])),
        ("cls", lambda n: json.dumps({"label": n % 3})),
        ("json", lambda n: json.dumps({"width": 48, "label": n % 3})),
        ("json", lambda n: json.dumps({"class_name": CLASSES[n % 3]})),
        ("json", lambda n: json.dumps(CLASSES[n % 3])),
        ("CLS", lambda n: str(n % 3)),
    ],
)
def test_labels_are_numbers_or_names_in_text_or_json(tmp_path, suffix, label):
    assert trained(odd(tmp_path, members(label=label, label_suffix=suffix), stream=False)) == ALL_SAMPLES
    module = odd(tmp_path, members(label=label, label_suffix=suffix), stream=True, split="test")
    assert seen(module.test_dataloader()[0]) == ALL_SAMPLES


@READERS
def test_unknown_class_names_raise_errors(tmp_path, stream):
    module = odd(tmp_path, members(label=lambda n: "newt"), stream)
    with pytest.raises(ValueError, match=r"0\.tar has the label 'newt', which is none of the 3 class names \(cat, dog"):
        trained(module)


@READERS
@pytest.mark.parametrize(
    ("suffix", "encoding", "byte"),
    [("cls", "cp1252", "line 1 has the byte 0xe4"), ("txt", "utf-16", "but UTF-16")],
)
def test_texts_in_another_encoding_raise_errors(tmp_path, stream, suffix, encoding, byte):
    contents = [(name, "Käse".encode(encoding) if name == f"s005.{suffix}" else content) for name, content in members()]
    contents = [*contents[:12], *([("s005.txt", "Käse".encode(encoding))] if suffix == "txt" else []), *contents[12:]]
    with pytest.raises(ValueError, match=rf"0\.tar: s005\.{suffix} is not UTF-8 text.*{byte}.*iconv -f"):
        trained(odd(tmp_path, contents, stream))


def test_exact_class_names_take_precedence_over_normalised_ones():
    labels = ClassLabels(4, ["Dog", "dog", "hot_dog", ""])
    result = [labels.number("0.tar", name, False) for name in ("dog", "Dog", "DOG", "hot dog", 3, None)]
    assert result == [1, 0, 1, 2, 3, -1]


def test_scattered_members_are_indexed_but_can_not_be_streamed(tmp_path):
    apart = [*members()[::2], *members()[1::2]]
    assert trained(odd(tmp_path, apart, False)) == ALL_SAMPLES
    with pytest.raises(ValueError, match=r"0\.tar: member 's000\.cls' is not adjacent to.*read the shards by index"):
        trained(odd(tmp_path, apart, True))


@READERS
def test_concatenated_tars_are_read_as_one(tmp_path, stream):
    parts = [tar(tmp_path / f"{half}.tar", members()[half * SIZE : (half + 1) * SIZE]).read_bytes() for half in (0, 1)]
    module = odd(tmp_path, [], stream)
    path = tmp_path / "odd/train/0.tar"
    path.write_bytes(b"".join(parts))
    assert trained(module) == ALL_SAMPLES
    path.write_bytes(b"".join(parts)[:-20_000])
    with pytest.raises(ValueError, match=r"0\.tar is (truncated|damaged) at byte"):
        trained(odd_again(tmp_path, stream))
    path.write_bytes(parts[0] + parts[0])
    with pytest.raises(ValueError, match=r"0\.tar: member 's000\.png' (occurs twice|is apart)"):
        trained(odd_again(tmp_path, stream))


def odd_again(tmp_path, stream):
    options = {"train": {"folder": "odd", "split": "train"}, "suite": SUITE, "batch_size": SIZE, "streams": 1}
    return shards(tmp_path, stream=stream, **options)


@READERS
def test_a_tar_without_samples_raises_an_error_with_its_content(tmp_path, stream):
    module = odd(tmp_path, members(image_suffix="dcm", label_suffix="xml"), stream)
    with pytest.raises(ValueError, match=r"train contains no sample: its members are 12 \.dcm, 12 \.xml; a sample is"):
        trained(module)
    module = odd(tmp_path, members()[::2], stream)
    with pytest.raises(ValueError, match=r"12 \.png; .*; 12 samples are left out: 12 without label or caption"):
        trained(module)


@READERS
def test_classes_without_samples_cause_warnings(tmp_path, stream):
    module = odd(tmp_path, members(label=lambda n: "0"), stream)
    if stream:
        assert {label for _, label in trained(module)} == {0}
        return
    with pytest.warns(UserWarning, match=r"train: 2 classes have no sample, the first is 1 \('dog'\)"):
        trained(module)


@READERS
@pytest.mark.parametrize("blank", [b"", b" \n", "\N{NO-BREAK SPACE}".encode()])
def test_empty_captions_are_left_out_with_a_warning(tmp_path, stream, blank):
    write(tmp_path / "pairs", "train", SIZE, classes=[], caption="grey {}")
    write(tmp_path / "odd", "test", SIZE)
    lost = ("s0000004.txt", "s0000007.txt")
    rewrite(tmp_path / "pairs/train/0.tar", lambda name, data: (name, blank if name in lost else data))
    (tmp_path / "pairs/train/manifest.json").unlink()
    options = {"train": {"folder": "pairs", "split": "train"}, "suite": SUITE, "batch_size": 5, "streams": 1}
    module = shards(tmp_path, stream=stream, **options)
    with pytest.warns(UserWarning, match=r"2 samples are left out: 2 with an empty caption"):
        batches = list(module.train_dataloader())
    assert [len(batch.labels) for batch in batches] == [5, 5]
    assert len({index for batch in batches for index in batch.indices.tolist()}) == 10


@READERS
def test_an_empty_caption_beside_a_class_is_ignored(tmp_path, stream):
    write(tmp_path / "odd", "train", SIZE, caption="grey {}")
    rewrite(tmp_path / "odd/train/0.tar", lambda name, data: (name, b" " if name.endswith("txt") else data))
    write(tmp_path / "odd", "test", SIZE)
    assert trained(odd_again(tmp_path, stream)) == ALL_SAMPLES


def test_make_shards_optionally_skips_empty_rows(tmp_path, capsys):
    for number in range(4):
        image(tmp_path / f"{number}.png")
    rows = [("path", "caption"), ("0.png", "a cat"), ("1.png", ""), ("2.png", "  "), ("3.png", "a dog")]
    command = ["csv", table(tmp_path / "t.csv", *rows), "--out", tmp_path / "out", "--verify"]
    assert "1.png has neither label nor caption" in error(capsys, *command)
    with pytest.warns(UserWarning, match=r"t\.csv: 2 files are skipped: 2 without label or caption"):
        assert main([str(argument) for argument in (*command, "--skip-empty")]) == 0
    assert sorted(sample["txt"] for sample in samples(tmp_path / "out/train")) == [b"a cat", b"a dog"]
