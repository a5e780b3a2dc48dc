"""Sets with unreadable images."""

import re

import lightning.pytorch as pl
import pytest

from tests.conftest import tiny_backbone
from tests.data.images.test_folder import data
from tests.data.shards.helpers import rewrite, shards
from tracer_lightning.evaluation import ClassificationSuite, EvaluationModule


def scores_of(module):
    """The scores of a model on all test sets."""
    suite = ClassificationSuite(module.eval_sets, module.prompts())
    evaluation = EvaluationModule({"student": tiny_backbone().model}, suite)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    pl.Trainer(**options).test(evaluation, datamodule=module, verbose=False)
    return evaluation.results["student"]


def spoil(files, count=None):
    for path in sorted(files)[:count]:
        path.write_bytes(b"<html>")


def test_a_fully_unreadable_set_does_not_end_the_run(folder_root):
    spoil(folder_root.glob("art/*/*"))
    module = data(folder_root)
    scores = scores_of(module)
    assert (scores["pets"]["n"], scores["art"]["n"]) == (12, 0)
    assert scores["art"]["accuracy"] is scores["art"]["ece"] is scores["avg_ood"]["accuracy"] is None
    assert len(module.unreadable) == 8


@pytest.mark.parametrize(
    ("spoiled", "fraction", "ends"),
    [(1, 0.001, False), (2, 0.001, True), (2, 0.25, False), (3, 0.25, True), (7, 0.5, True), (1, 0.0, True)],
)
def test_the_allowed_fraction_applies_to_each_set(folder_root, spoiled, fraction, ends):
    spoil(folder_root.glob("art/*/*"), spoiled)
    module = data(folder_root, max_bad_fraction=fraction)
    if not ends:
        assert scores_of(module)["art"]["n"] == 8 - spoiled
        return
    with pytest.raises(
        ValueError,
        match=rf"max_bad_fraction={fraction:g} allows of the 8 that this process reads of the set art, among them",
    ):
        scores_of(module)


def test_one_unreadable_image_of_each_set_does_not_end_the_run(folder_root):
    for split in ("val", "art"):
        spoil(folder_root.glob(f"{split}/*/*"), 1)
    scores = scores_of(data(folder_root))
    assert (scores["pets"]["n"], scores["art"]["n"]) == (11, 7)


@pytest.mark.parametrize("stream", [False, True])
def test_the_allowed_fraction_applies_to_each_set_of_shards(root, stream):
    lost = [f"s{number:07d}.png" for number in (0, 4)]
    rewrite(root / "sketch/test/0.tar", lambda name, data: (name, b"<html>" if name in lost else data))
    where = re.escape(f"{root}/sketch/test/0.tar") if not stream else "s0000000 in"
    with pytest.raises(
        ValueError,
        match=rf"2 images can't be read.* of the 11 that this process reads of the set sketch, among them {where}",
    ):
        scores_of(shards(root, stream=stream))
