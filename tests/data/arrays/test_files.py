"""Arrays in .npz files and folders of .npy files."""

import os
import tracemalloc

import numpy as np
import pytest
import torch

from tests.data.arrays.helpers import array_data, arrays, labelled, write_npz
from tracer_lightning.data.arrays.files import read_splits
from tracer_lightning.data.arrays.splits import channel_statistics, chunks
from tracer_lightning.types import EvalSet


def read(source):
    """Samples and labels of a source."""
    samples = [source[index] for index in range(len(source))]
    return torch.stack([sample.data for sample in samples]), [sample.label for sample in samples]


def test_splits_are_disjoint_and_all_samples_are_in_one(tmp_path):
    data = array_data(write_npz(tmp_path / "mine.npz"))
    train, val, test = (
        read(data.train_source()),
        *(read(data.eval_source(s)) for s in (data.val_set, *data.eval_sets)),
    )
    assert data.val_set == EvalSet("mine", "val", "id", samples=3)
    assert data.eval_sets == (EvalSet("mine", "test", "id", samples=9),)
    assert (sorted(train[1]), sorted(val[1]), len(test[1])) == ([0] * 3 + [1] * 3 + [2] * 3, [0, 1, 2], 9)
    assert len(torch.cat([train[0], val[0], test[0]]).flatten(1).unique(dim=0)) == 21
    assert data.about_validation().startswith(f"3 of 12 samples of {tmp_path}/mine.npz: train_x (25.0%)")


def test_standardization_is_by_the_training_split_alone(tmp_path):
    data = array_data(write_npz(tmp_path / "mine.npz"))
    train, _ = read(data.train_source())
    torch.testing.assert_close(train.mean(dim=(0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(dim=(0, 2), correction=0), torch.ones(2))
    elsewhere = array_data(write_npz(tmp_path / "other.npz", test_x=100 * labelled(9, 5)[0]))
    assert torch.equal(read(elsewhere.train_source())[0], train)
    assert read(elsewhere.eval_source(elsewhere.eval_sets[0]))[0].std() > 50


def test_a_folder_holds_the_same_as_a_file(tmp_path):
    for name, array in arrays().items():
        np.save(tmp_path / f"{name}.npy", array)
    of_folder, of_file = array_data(tmp_path), array_data(write_npz(tmp_path / "mine.npz"))
    assert torch.equal(read(of_folder.train_source())[0], read(of_file.train_source())[0])


def test_validation_samples_of_their_own(tmp_path):
    samples, labels = labelled(6, 9)
    data = array_data(write_npz(tmp_path / "mine.npz", val_x=samples, val_y=labels))
    assert (len(data.train_source()), len(data.eval_source(data.val_set)), data.about_validation()) == (12, 6, "")


def test_nothing_held_out_validates_on_the_test_set(tmp_path):
    data = array_data(write_npz(tmp_path / "mine.npz"), held_out={"fraction": 0.0, "seed": 0})
    assert data.val_set in data.eval_sets
    assert len(data.train_source()) == 12


def test_batches_are_floats_with_captions(tmp_path):
    data = array_data(write_npz(tmp_path / "mine.npz", shape=(1, 4, 5)), shots=2)
    assert data.sample_shape == (1, 4, 5)
    batch = next(iter(data.train_loader()))
    assert (batch.images.shape, batch.images.dtype) == ((4, 1, 4, 5), torch.float32)
    assert torch.equal(data.on_after_batch_transfer(batch, 0).images, batch.images)
    assert len(batch.texts[batch.text_of]) == 4
    assert len(data.train_source()) == 9
    assert len(data.plain_dataset()) == 6


def test_padding_is_a_blank_sample(tmp_path):
    data = array_data(write_npz(tmp_path / "mine.npz"))
    padding = data.eval_dataset(data.val_set)[0, -1]
    assert (padding.image.shape, padding.label) == ((2, 6), -1)


def test_a_constant_channel_is_only_centred(tmp_path):
    samples, _ = labelled(12, 0)
    samples[:, 1] = 7
    with pytest.warns(UserWarning, match=r"1 of 2 channels are constant in the training split and are only centred: 1"):
        data = array_data(write_npz(tmp_path / "mine.npz", train_x=samples))
    assert not read(data.train_source())[0][:, 1].any()


@pytest.mark.parametrize(("scale", "offset"), [(1e-8, 0), (1e-13, 1e-8), (1e5, 1e3)])
def test_channels_of_any_scale_are_standardized(tmp_path, scale, offset):
    """Fields of the brain are of 1e-13 tesla."""
    samples = scale * (labelled(12, 0)[0] - 5) + offset * np.ones((1, 2, 1), np.float32)
    data = array_data(write_npz(tmp_path / "mine.npz", train_x=samples.astype(np.float32)))
    train, _ = read(data.train_source())
    torch.testing.assert_close(train.std(dim=(0, 2), correction=0), torch.ones(2))


@pytest.mark.parametrize("mean", [0.3, 1e6, -1e-8])
def test_a_channel_of_rounding_noise_is_constant(tmp_path, mean):
    samples, _ = labelled(12, 0)
    samples[:, 1] = np.float32(mean)
    samples[::2, 1] = np.nextafter(np.float32(mean), np.float32(np.inf))
    with pytest.warns(UserWarning, match="1 of 2 channels are constant"):
        data = array_data(write_npz(tmp_path / "mine.npz", train_x=samples))
    assert read(data.train_source())[0][:, 1].abs().max() < 1


@pytest.mark.parametrize(("shape", "size"), [((57, 512, 512), 1), ((1, 1024, 1024), 8), ((2, 6), 512)])
def test_a_part_of_an_array_has_a_few_large_samples_or_many_small_ones(shape, size):
    array = np.broadcast_to(np.arange(1000.0).reshape(-1, *[1] * len(shape)), (1000, *shape))
    parts = [(start, len(chunk), float(chunk.flat[0])) for start, chunk in chunks(array)]
    assert parts == [(start, min(size, 1000 - start), start) for start in range(0, 1000, size)]


def test_large_samples_are_read_a_few_at_a_time(tmp_path):
    """Six samples take 108 MB in double precision, and three times as much with intermediate results."""
    array = np.lib.format.open_memmap(tmp_path / "train_x.npy", "w+", np.float16, (6, 1, 1500, 1500))
    array[:, 0, 0, 0] = [1, 2, 3, 4, 5, 9]
    (tmp_path / "test_x.npy").symlink_to(tmp_path / "train_x.npy")
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_y.npy", np.zeros(6, int))
    tracemalloc.start()
    statistics = channel_statistics(read_splits(tmp_path)["train"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 230e6
    mean, squares = 24 / array.size, 136 / array.size
    assert statistics.mean.item() == pytest.approx(mean)
    assert statistics.std.item() == pytest.approx(np.sqrt(squares - mean**2))


def with_value(value, place=(7, 1, 2)):
    samples, _ = labelled(12, 0)
    samples[place] = value
    return samples


BAD = {
    "no labels": ({"train_y": None}, "train_y is missing; there must be train_y, found test_x, test_y, train_x"),
    "no test": ({"test_x": None}, "test_x is missing"),
    "rank": ({"train_x": np.zeros((270, 12))}, r"train_x must be \(N, C, L\) or \(N, C, H, W\) of finite numbers; "
             r"found \(270, 12\), float64"),
    "text": ({"train_x": np.full((12, 2, 6), "a")}, "of finite numbers; found .*<U1"),
    "empty": ({"train_x": np.zeros((12, 2, 0))}, r"of finite numbers; found \(12, 2, 0\)"),
    "nan": ({"train_x": with_value(np.nan)}, "train_x must be of finite numbers; sample 7, channel 1 has nan"),
    "too large": (
        {"train_x": with_value(1.0).astype(float) * 1e39},
        r"must be of finite numbers; sample 0, channel 0 has -?\d.*e\+",
    ),
    "inf": ({"train_x": with_value(np.inf)}, "sample 7, channel 1 has inf"),
    "shape": ({"test_x": labelled(9, 0, (2, 5))[0]}, r"test_x: samples must have the shape \(2, 6\) of .*train_x, "
              r"found \(2, 5\)"),
    "count": ({"test_y": np.zeros(8, dtype=int)}, "test_x: there must be a label for each of 9 samples, found 8"),
    "negative": ({"train_y": np.arange(12) % 3 - 1}, "train_x: labels must be 0 to 1, found -1 of sample 0"),
    "outside": ({"test_y": np.arange(9)}, "test_x: labels must be 0 to 2, found 3 of sample 3"),
    "gap": ({"train_y": np.arange(12) % 3 * 2}, r"no training sample is of class 1 \(1\)"),
    "values": ({"train_y": np.linspace(0, 1, 12)}, r"train_y must be \(N,\) class indices, whole numbers from 0; found "
               r"\(12,\), float64"),
    "no samples": ({"test_x": np.zeros((0, 2, 6)), "test_y": np.zeros(0, dtype=int)}, "test_x: there are no samples"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays_are_named(tmp_path, case):
    changed, message = BAD[case]
    with pytest.raises(ValueError, match=f"mine.npz: .*{message}"):
        array_data(write_npz(tmp_path / "mine.npz", **changed))


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize("is_folder", [False, True])
def test_pickled_objects_are_not_loaded(tmp_path, is_folder):
    evil = np.array([Payload(tmp_path / "executed")], dtype=object)
    root = tmp_path if is_folder else tmp_path / "evil.npz"
    if is_folder:
        for name, array in arrays(train_x=evil).items():
            np.save(root / f"{name}.npy", array, allow_pickle=True)
    else:
        write_npz(root, train_x=evil)
    with pytest.raises(
        ValueError, match="train_x holds pickled objects, which are not loaded; save an array of numbers"
    ):
        array_data(root)
    assert not (tmp_path / "executed").exists()


def test_other_files_are_refused(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"no \.npz file of plain arrays, nor a folder of .npy files"):
        array_data(tmp_path / "mine.npz")
    with pytest.raises(ValueError, match="no such file or folder"):
        array_data(tmp_path / "none.npz")


def test_classes_may_be_named(tmp_path):
    path = write_npz(tmp_path / "mine.npz")
    assert array_data(path).classnames == ("0", "1", "2")
    named = array_data(path, texts={"classnames": ["a", "b", "c"], "templates": ["{c}"]})
    assert named.label_names(named.eval_sets[0]) == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"texts\.classnames has 2 names and .* 3 classes"):
        array_data(path, texts={"classnames": ["a", "b"], "templates": ["{c}"]})


def test_one_sample_of_each_class_leaves_none_to_hold_out(tmp_path):
    samples, labels = labelled(3, 0)
    with pytest.raises(ValueError, match=r"one sample of each class.*set held_out\.fraction to 0"):
        array_data(write_npz(tmp_path / "mine.npz", train_x=samples, train_y=labels))
