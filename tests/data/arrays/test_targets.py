"""Values to predict in place of classes."""

import math
import warnings

import numpy as np
import pytest
import torch

from tests.data.arrays.helpers import array_data, write_npz, write_values
from tracer_lightning.data.arrays.targets import check_targets, target_spec

NAN = math.nan


@pytest.mark.parametrize("task", ["multilabel", "regression", "dense", "mask"])
def test_batches_have_the_values_of_their_samples(tmp_path, task):
    path = write_values(tmp_path / "mine.npz", task)
    data = array_data(path, task=task)
    with np.load(path) as content:
        stored = content["test_y"].astype(np.float32).reshape(9, *data.context()["outputs"].mean.shape)
    *_, last = data.test_dataloader()[0]
    assert np.array_equal(last.targets[last.indices >= 0], stored[last.indices[last.indices >= 0]])
    assert last.targets[last.indices < 0].isnan().all()
    batch = next(iter(data.train_dataloader()))
    assert torch.equal(batch.targets, data.training_targets()[batch.indices])
    assert (data.class_texts(), data.label_names(data.eval_sets[0])) == (None, [])


def test_held_out_values_are_no_training_values(tmp_path):
    data = array_data(write_values(tmp_path / "mine.npz", "regression"), task="regression")
    (held_out,) = [batch.targets[batch.indices >= 0] for batch in data.val_dataloader()]
    together = torch.cat([data.training_targets(), held_out])
    with np.load(tmp_path / "mine.npz") as content:
        assert sorted(together[:, 0].tolist()) == sorted(content["train_y"].astype(np.float32).tolist())
    assert len(held_out) == 3


def test_a_head_begins_with_the_means():
    values = np.array([[1, 5], [3, NAN], [NAN, 5]], dtype=np.float32)
    spec = target_spec(values, "regression")
    assert (spec.mean.tolist(), spec.unit.tolist(), spec.binary) == ([2, 5], [1, 1], False)
    labels = target_spec(np.array([[0, 1], [1, 1], [1, 1], [1, NAN]], dtype=np.float32), "multilabel")
    assert labels.mean.tolist() == pytest.approx([math.log(3), math.log(999)], rel=1e-5)
    mask = target_spec(np.array([[[0, 0], [0, 1]]], dtype=np.float32), "mask")
    assert mask.mean.flatten().tolist() == pytest.approx([-math.log(3)] * 4)
    dense = target_spec(np.array([[[0, 4]], [[2, 4]]], dtype=np.float32), "dense")
    assert (dense.mean.tolist(), dense.unit.item()) == ([[1, 4]], pytest.approx(math.sqrt(0.5)))


WRONG = {
    "shape": ("multilabel", np.zeros(3), r"must be \(N, K\) numbers for task=multilabel.*found \(3,\), float64"),
    "type": ("regression", np.array(["a"]), r"must be \(N,\) or \(N, K\) numbers for task=regression"),
    "infinite": ("dense", np.full((2, 1, 1), np.inf), "must be finite for task=dense; sample 0 has inf"),
    "binary": ("mask", np.array([[[0.0]], [[0.5]]]), "must be 0 or 1 for task=mask; sample 1 has 0.5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_named(case):
    task, array, message = WRONG[case]
    with pytest.raises(ValueError, match=f"train_y {message}"):
        check_targets(array, task, "train_y")


def test_maps_that_are_zero_everywhere_are_counted():
    maps = np.ones((4, 2, 2))
    maps[1:3] = 0.0
    maps[2, 0] = maps[3] = NAN
    with pytest.warns(UserWarning, match=r"train_y: 2 of 4 maps are zero everywhere, the first that of sample 1; "):
        check_targets(maps, "dense", "train_y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_targets(maps[3:], "dense", "train_y")
        check_targets(np.zeros((4, 2, 2)), "mask", "train_y")


def test_what_does_not_fit_is_refused(tmp_path):
    path = write_values(tmp_path / "mine.npz", "dense")
    with pytest.raises(ValueError, match=r"task must be one of classification, .*, got 'segments'"):
        array_data(path, task="segments")
    with pytest.raises(ValueError, match="shots counts samples per class, and task=dense has none"):
        array_data(path, task="dense", shots=2)
    wrong = {f"{split}_y": np.ones((count, 2, 2)) for split, count in (("train", 12), ("test", 9))}
    with pytest.raises(ValueError, match=r"pixels to predict must be those of the samples, \(4, 3\), found \(2, 2\)"):
        array_data(write_values(tmp_path / "small.npz", "dense", **wrong), task="dense")
    with pytest.raises(ValueError, match=r"values to predict must have the shape \(4, 3\) of training, found \(2, 2\)"):
        array_data(write_values(tmp_path / "test.npz", "dense", test_y=wrong["test_y"]), task="dense")


def test_losses_of_classes_and_of_values_are_told_apart(tmp_path):
    classes = array_data(write_npz(tmp_path / "classes.npz"))
    values = array_data(write_values(tmp_path / "values.npz", "regression"), task="regression")
    values.check_losses(frozenset({"logits", "targets"}), [])
    with pytest.raises(ValueError, match="have classes, and a loss reads values"):
        classes.check_losses(frozenset({"logits", "targets"}), [])
    for reads in ({"logits", "labels"}, {"image", "text"}):
        with pytest.raises(ValueError, match="values to predict and no classes"):
            values.check_losses(frozenset(reads), [])
