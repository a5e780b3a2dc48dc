"""Text files whose line numbers identify classes."""

import warnings

import pytest
import torch

from tests.data.shards.helpers import shards, write
from tests.data.shards.test_make_shards import error, image
from tracer_lightning.storage import read_text, split_lines

NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"


def test_only_trailing_newlines_are_dropped():
    assert split_lines("cat\n\n  dog \nsea\fcow\n\n\n") == ["cat", "", "dog", "sea\fcow"]
    assert split_lines("\n") == split_lines("") == []


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    (tmp_path / "names.txt").write_bytes("\N{BOM}cat\r\ndog\r\n".encode())
    assert split_lines(read_text(tmp_path / "names.txt")) == ["cat", "dog"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_blank_class_name_does_not_shift_the_others(root, stream):
    for folder in ("photo", "sketch"):
        (root / folder / NAMES).write_text("cat\n\nowl\n")
    with pytest.warns(UserWarning, match=r"photo/classnames\.txt: line 2 is blank, so that class 1 has no name"):
        module = shards(root, stream=stream)
    assert list(module.classnames) == ["cat", "", "owl"]
    assert module.label_names(module.eval_sets[0]) == ["cat", "class 1", "owl"]
    batch = next(iter(module.train_dataloader()))
    texts = batch.texts if batch.text_of is None else batch.texts[batch.text_of]
    captions = module.spec.tokenize(["a cat.", "a .", "a owl."])[:, : texts.shape[1]]
    assert torch.equal(texts, captions[batch.labels])


def test_a_blank_line_counts_as_a_class(root):
    (root / "sketch" / NAMES).write_text("cat\ndog\n\nowl\n")
    with pytest.raises(ValueError, match=r"suite\.sketch: sketch has 4 classes, but 3 are expected"):
        shards(root)


def test_a_blank_template_raises_an_error_with_its_line(root):
    (root / "photo" / TEMPLATES).write_text("a {c}.\n\nthe {c}.\n")
    with pytest.raises(ValueError, match=r"photo/zeroshot_.*\.txt: line 2: template '' lacks the placeholder"):
        shards(root)


def test_trailing_newlines_are_ignored(root):
    (root / "photo" / NAMES).write_text("cat\ndog\nowl\n\n\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(shards(root).classnames) == ["cat", "dog", "owl"]


def test_a_split_with_shifted_names_is_not_added(root):
    (root / "photo" / NAMES).write_text("cat\n\ndog\nowl\n")
    with pytest.raises(ValueError, match=r"classnames\.txt differs from that of split 'more'"):
        write(root / "photo", "more", 5)


def test_make_shards_reports_the_blank_line(tmp_path, capsys):
    for name in ("ant", "bee", "cow"):
        image(tmp_path / "pets" / name / "0.png")
    command = ("folder", tmp_path / "pets", "--out", tmp_path / "out")
    (tmp_path / "names.txt").write_text("ant\n\ncow\n")
    message = error(capsys, *command, "--classnames", tmp_path / "names.txt")
    assert "names.txt: line 2 is blank; write the name of class 1 there" in message
    (tmp_path / "templates.txt").write_text("a {c}\n\nthe {c}\n")
    message = error(capsys, *command, "--templates", tmp_path / "templates.txt")
    assert "templates.txt: line 2: template '' lacks the placeholder" in message
