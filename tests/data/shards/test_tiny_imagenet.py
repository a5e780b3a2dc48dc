"""Shards of Tiny-ImageNet, in both layouts, and captions of several names per class."""

import re

import pytest

from tests.commands.helpers import make_shards as main
from tests.data.shards.helpers import shards
from tests.data.shards.test_make_shards import error, image, samples
from tests.images import grey_pixels, write_image
from tracer_lightning.data.images.imagenet import tiny_imagenet_names

TABBY, LION, UNKNOWN = "n02123045", "n02129165", "n00000001"


@pytest.fixture(params=["original", "class folders"])
def root(request, tmp_path):
    """Tiny-ImageNet of two classes with two training images and one test image each."""
    root, original = tmp_path / "tiny", request.param == "original"
    lines = []
    for label, wnid in enumerate((TABBY, LION)):
        folder = root / "train" / wnid / ("images" if original else ".")
        for number in range(2):
            write_image(folder / f"{wnid}_{number}.JPEG", grey_pixels(100 * label + number, 64, 64))
        name = f"val_{label}.JPEG"
        write_image(root / ("val/images" if original else f"test/{wnid}") / name, grey_pixels(100 * label + 50, 64, 64))
        lines.append(f"{name}\t{wnid}\t0\t32\t44\t62\n")
    if original:
        (root / "val/val_annotations.txt").write_text("".join(lines))
        image(root / "test/images/test_0.JPEG")  # without labels
        (root / "words.txt").write_text(f"{TABBY}\ttabby, tabby cat\n{UNKNOWN}\tunicorn, mythical beast\n")
    return root


def test_both_layouts_give_both_splits(root, tmp_path, capsys):
    assert main(["tiny_imagenet", str(root), "--out", str(tmp_path / "out"), "--verify"]) == 0
    assert [line.split(", ")[0].rsplit("/")[-1] for line in capsys.readouterr().out.splitlines()] == [
        "train: 4 samples",
        "test: 2 samples",
    ]
    assert (tmp_path / "out/classnames.txt").read_text() == "tabby\nlion\n"
    assert (tmp_path / "out/train_classnames.txt").read_text() == "tabby|tabby|cat\nlion\n"
    expected = {(path.read_bytes(), b"0" if TABBY in str(path) else b"1") for path in root.glob("train/**/*.JPEG")}
    assert {(sample["jpeg"], sample["cls"]) for sample in samples(tmp_path / "out/train")} == expected


def test_captions_draw_among_the_names_and_heads_use_the_first(root, tmp_path):
    assert main(["tiny_imagenet", str(root), "--out", str(tmp_path / "out" / "tiny")]) == 0
    suite = {"tiny": {"folder": "tiny", "split": "test", "role": "id"}}
    texts = {"classnames": None, "templates": ["a {c}"], "train_templates": None, "train_classnames": None}
    options = {"train": {"folder": "tiny", "split": "train"}, "suite": suite, "batch_size": 4}
    data = shards(tmp_path / "out", texts=texts, **options)
    tokens = {name: data.spec.tokenize([f"a {name}"])[0].tolist() for name in ("tabby", "cat", "lion")}
    drawn = set()
    for seed in range(12):
        (batch,) = shards(tmp_path / "out", texts=texts, seed=seed, **options).train_dataloader()
        rows = (batch.texts if batch.text_of is None else batch.texts[batch.text_of]).tolist()
        for label, row in zip(batch.labels.tolist(), rows, strict=True):
            drawn |= {(label, name) for name, ids in tokens.items() if ids[: len(row)] == row}
    assert {name for label, name in drawn if label == 0} == {"tabby", "cat"}
    assert {name for label, name in drawn if label == 1} == {"lion"}
    prompts = data.prompts()
    assert prompts.shape[:2] == (2, 1)
    assert prompts[0, 0].tolist() == tokens["tabby"][: prompts.shape[-1]]
    named = shards(tmp_path / "out", texts={**texts, "train_classnames": ["tabby", "lion"]}, **options)
    assert named.train_classnames == ["tabby", "lion"]
    wrong = shards(tmp_path / "out", texts={**texts, "train_classnames": ["tabby|", "lion"]}, **options)
    with pytest.raises(ValueError, match=r"'tabby\|' has a blank between its separators"):
        wrong.train_dataloader()
    short = shards(tmp_path / "out", texts={**texts, "train_classnames": ["tabby|cat"]}, **options)
    with pytest.raises(ValueError, match="train_classnames names 1 classes, but there are 2"):
        short.train_dataloader()


def test_names_of_other_classes_come_from_the_data_or_the_user(root, tmp_path, capsys):
    image(root / "train" / UNKNOWN / "0.JPEG")
    options = ("tiny_imagenet", root, "--out", tmp_path / "out")
    if (root / "words.txt").exists():
        assert main([str(argument) for argument in options]) == 0
        assert "unicorn\n" in (tmp_path / "out/classnames.txt").read_text()
    else:
        assert re.search(rf"{UNKNOWN} is no class of Tiny-ImageNet.*pass classnames", error(capsys, *options))
        (tmp_path / "names.txt").write_text("unicorn\ntabby\nlion\n")
        options += ("--classnames", tmp_path / "names.txt")
        assert main([str(argument) for argument in options]) == 0
        assert not (tmp_path / "out/train_classnames.txt").exists()


def test_missing_parts_raise_errors(root, tmp_path, capsys):
    options = ("tiny_imagenet", root, "--out", tmp_path / "out")
    annotations = root / "val/val_annotations.txt"
    if annotations.exists():
        annotations.write_text(f"val_0.JPEG\t{UNKNOWN}\n")
        assert re.search(f"line 1: '{UNKNOWN}' is not a class", error(capsys, *options))
        annotations.write_text(f"val_9.JPEG\t{TABBY}\n")
        assert "line 1: 'val_9.JPEG' is missing in" in error(capsys, *options)
        annotations.write_text(f"val_0.JPEG\t{TABBY}\nval_0.JPEG\t{TABBY}\n")
        assert "line 2: 'val_0.JPEG' is missing in" in error(capsys, *options)
        annotations.write_text(f"../images/val_0.JPEG\t{TABBY}\n")
        assert "line 1: '../images/val_0.JPEG' is missing in" in error(capsys, *options)
        annotations.write_text(f"val_0.JPEG\t{TABBY}\n")
        assert "does not list 1 images of" in error(capsys, *options)
        annotations.unlink()
    else:
        for path in root.glob("test/*/*"):
            path.unlink()
        assert re.search("test/n02123045 contains no images", error(capsys, *options))
        for path in root.glob("test/*"):
            path.rmdir()
    assert re.search(r"neither val/val_annotations\.txt nor class folders", error(capsys, *options))


def test_every_class_has_names_of_its_own():
    names = tiny_imagenet_names()
    firsts = [line.split("|")[0] for line in names.values()]
    assert len(set(firsts)) == len(names) == 202
    assert names["n02123394"] == "Persian cat|Persian cat|cat"
