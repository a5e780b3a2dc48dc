"""ImageNet-Vid-Robust beside shards."""

import lightning.pytorch as pl
import pytest
import torch

from tests.commands.stand_ins import write_video
from tests.conftest import tiny_backbone
from tests.data.shards.helpers import shards, write
from tracer_lightning.data import imagenet_classnames
from tracer_lightning.data.images.imagenet import imagenet_positions
from tracer_lightning.evaluation import ClassificationSuite, EvaluationModule

VIDEO = {"folder": "vid", "split": "val", "role": "ood", "video": True}


@pytest.fixture
def root(tmp_path):
    """Shards of ImageNet's classes, and two videos: see :func:`write_video`."""
    for split in ("train", "test"):
        write(tmp_path / "sets/photo", split, 12, classes=imagenet_classnames())
    write_video(tmp_path / "sets/vid")
    return tmp_path / "sets"


def data(root, stream=False, bad=0.001, **video):
    suite = {"photo": {"folder": "photo", "split": "test", "role": "id"}, "vid": VIDEO | video}
    return shards(root, stream=stream, suite=suite, batch_size=4, eval_batch_size=4, max_bad_fraction=bad)


def test_labels_cover_classes_of_imagenet_and_anchors_have_them(root):
    module = data(root)
    vid = module.eval_sets[1]
    position = imagenet_positions()
    assert vid.classes == ((position["n01440764"], position["n01443537"]), (position["n02123045"],))
    assert vid.neighbours.labels == ((0,), (0,), (0, 1), (1,), (1,))
    assert vid.neighbours.groups == ((1, 0, 2), (3, 4))
    batches = list(module.test_dataloader()[1])
    assert torch.cat([batch.labels for batch in batches]).tolist() == [-1, 0, -1, 1, -1]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(5))
    assert module.label_names(vid)[0] == "tench / goldfish"
    assert module.set_size(vid) == 5


class Greys(torch.nn.Module):
    """Predicts for each frame the class that a table has for its level of grey."""

    head, logit_scale = None, torch.tensor(1.0)

    def __init__(self, predicted, spec):
        super().__init__()
        self.predicted, self.spec = predicted, spec

    def encode_text(self, tokens):
        return torch.eye(1000)[: len(tokens)]

    def encode_image(self, images):
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.spec.mean, self.spec.std))
        greys = (255 * (images * std + mean)).mean(dim=(1, 2, 3))
        numbers = (greys / 20).round().long().tolist()
        return torch.stack([torch.eye(1000)[self.predicted.get(number, 0)] for number in numbers])


def scored(module, predicted):
    suite = ClassificationSuite(module.eval_sets, torch.zeros(1000, 1, 4, dtype=torch.long), ("model",))
    test = EvaluationModule({"model": Greys(predicted, tiny_backbone().spec)}, suite)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    trainer.test(test, datamodule=module, verbose=False)
    return test.results["model"]


TENCH, GOLDFISH, TABBY = 0, 1, 281
RIGHT = {1: GOLDFISH, 2: TENCH, 3: TABBY, 4: TABBY, 5: TABBY}
"""Frames from 1 on, so that none is black."""


CASES = [
    ({3: GOLDFISH}, 1.0, 1.0),  # the third frame has two labels, either of which is right
    ({1: TABBY}, 1.0, 0.5),
    ({2: TABBY}, 0.5, 0.5),
    ({2: TABBY, 5: TENCH}, 0.5, 0.0),
]
"""Changed predictions, accuracy over anchors, and with their neighbours."""


@pytest.mark.parametrize(("stream", "cases"), [(False, CASES), (True, CASES[1:2])])
def test_anchors_count_alone_and_with_their_neighbours(root, stream, cases):
    module = data(root, stream)
    for wrong, anchors, with_neighbours in cases:
        scores = scored(module, RIGHT | wrong)
        assert scores["vid"]["n"] == 2
        assert scores["vid"]["accuracy"] == scores["avg_ood"]["accuracy"] == anchors
        assert scores["vid"]["accuracy_pm10"] == with_neighbours
        assert "accuracy_pm10" not in scores["avg_ood"]


def test_frames_that_can_not_be_read_are_left_out(root):
    (root / "vid/val/a/0.JPEG").write_bytes(b"no image")
    scores = scored(data(root, bad=0.5), RIGHT | {1: TABBY})["vid"]
    assert (scores["n"], scores["accuracy"], scores["accuracy_pm10"]) == (2, 1.0, 1.0)
    (root / "vid/val/a/1.JPEG").write_bytes(b"no image")
    scores = scored(data(root, bad=0.5), RIGHT | {5: TENCH})["vid"]
    assert (scores["n"], scores["accuracy"], scores["accuracy_pm10"]) == (1, 1.0, 0.0)


def changed(root, name, change):
    path = root / "vid" / name
    path.write_text(change(path.read_text()) if callable(change) else change)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("metadata/labels.json", "[1]", "vid: labels: Input should be a valid dictionary"),
        ("metadata/labels.json", "{", r"labels\.json is not valid JSON"),
        ("metadata/labels.json", "{}", r"must map val/a/0\.JPEG to some of 2 classes, from 0; found None"),
        (
            "metadata/labels.json",
            lambda text: text.replace("[0, 1]", "[0, 2]"),
            r"of 2 classes, .* found \[0, 2\]",
        ),
        ("metadata/pmsets.json", "{}", r"pmsets\.json contains no anchor"),
        (
            "metadata/pmsets.json",
            lambda text: text.replace("a/0", "../0"),
            "must map val/../0.JPEG to some of",
        ),
        (
            "misc/rev_wnid_map.json",
            lambda text: text.replace("n02123045", "n0"),
            "class 1 must have a wnid in .*",
        ),
        ("misc/imagenet_vid_class_index.json", '{"1": ["n1"]}', "class 0 must have a wnid in .*found '' and None"),
    ],
)
def test_invalid_folders_raise_errors(root, name, change, message):
    changed(root, name, change)
    with pytest.raises(ValueError, match=message):
        data(root)


def test_missing_files_and_invalid_entries_raise_errors(root):
    (root / "vid/val/b/4.JPEG").unlink()
    with pytest.raises(ValueError, match=r"val/b/4\.JPEG is missing, one of 5 frames"):
        data(root)
    (root / "vid/misc/rev_wnid_map.json").unlink()
    with pytest.raises(ValueError, match=r"rev_wnid_map\.json is missing; give a folder in ImageNet-Vid-Robust"):
        data(root)
    for wrong in ({"video": 1}, {"split": "test"}, {"classes": [[0]]}):
        with pytest.raises(ValueError, match=r"suite\.vid\.video must be a bool, and True only for split 'val'"):
            data(root, **wrong)
