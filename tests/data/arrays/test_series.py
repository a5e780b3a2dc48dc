"""Time series in .ts files."""

import pytest
import torch

from tests.data.arrays.helpers import HEADER, LINES, series_data, write_archive
from tracer_lightning.data.arrays.series import embedded_archive, read_series

EVERYTHING = {"fraction": 0.0, "seed": 0}


def test_shorter_series_are_filled_with_the_mean(tmp_path):
    data = series_data(write_archive(tmp_path), held_out=EVERYTHING)
    assert data.sample_shape == (2, 6)
    samples = torch.stack([data.train_source()[number].data for number in range(4)])
    lengths = torch.tensor([3, 5, 2, 3])
    behind = torch.arange(6) >= lengths[:, None]  # (N, L)
    assert not samples.transpose(1, 2)[behind].any()
    values = samples.transpose(1, 2)[~behind]
    torch.testing.assert_close(values.mean(dim=0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(values.std(dim=0, correction=0), torch.ones(2))


def test_classes_are_those_of_the_header_in_its_order(tmp_path):
    data = series_data(write_archive(tmp_path), held_out=EVERYTHING)
    assert data.classnames == ("low", "high")
    assert data.train_source().labels.tolist() == [0, 1, 0, 1]
    without = series_data(write_archive(tmp_path / "x", header="@data\n"), held_out=EVERYTHING)
    assert without.classnames == ("high", "low")


def test_validation_is_held_out_of_training(tmp_path):
    data = series_data(write_archive(tmp_path))
    assert (len(data.train_source()), len(data.eval_source(data.val_set))) == (2, 2)
    assert "held out of training for validation; the test set is" in data.about_validation()


BAD = {
    "missing value": (["1,?,2:5,5,6:low"], "line 5 must be channels of equally many numbers"),
    "lengths": (["1,2,3:5,5:low"], "line 5 must be channels of equally many numbers"),
    "time stamps": (["(0,1),(1,2):low"], "without missing values or time stamps"),
    "infinite": (["1,inf:5,5:low"], "line 5 must have one or more channels of finite numbers"),
    "class alone": (["low"], "line 5 must have one or more channels of finite numbers"),
    "channels": (["1,2:3,4:low", "1,2:low"], "line 6 must have 2 channels, as the first series, found 1"),
    "unknown class": ([*LINES["TRAIN"], "1,2:3,4:middle"], "has the class 'middle', which is none of low / high"),
    "nothing": ([], "has no series"),
    "a class without samples": (["1,2:3,4:low"], r"no training sample is of class 1 \(high\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(tmp_path, case):
    lines, message = BAD[case]
    with pytest.raises(ValueError, match=f"Toy_TRAIN.ts.*{message}"):
        series_data(write_archive(tmp_path, TRAIN=lines), held_out=EVERYTHING)


VALUES = HEADER.replace("@classLabel true low high", "@targetlabel true")


def test_values_to_predict_are_no_classes(tmp_path):
    with pytest.raises(ValueError, match=r"task must be regression for .*Toy_TRAIN\.ts, which has values to predict"):
        series_data(write_archive(tmp_path, header=VALUES))
    with pytest.raises(ValueError, match=r"task must be classification for .*Toy_TRAIN\.ts, which has classes"):
        series_data(write_archive(tmp_path), task="regression")
    with pytest.raises(ValueError, match="value to predict at the end of each line must be a number"):
        series_data(write_archive(tmp_path, header=VALUES), task="regression")


def test_values_to_predict_are_read(tmp_path):
    lines = {name: [line.replace("low", "1.5").replace("high", "-2") for line in LINES[name]] for name in LINES}
    data = series_data(write_archive(tmp_path, header=VALUES, **lines), held_out=EVERYTHING, task="regression")
    assert data.training_targets().tolist() == [[1.5], [-2], [1.5], [-2]]


def test_a_missing_data_set_lists_the_others(tmp_path):
    with pytest.raises(ValueError, match=r"name=Other: .*Other_TRAIN.ts is missing; .* has Toy"):
        series_data(write_archive(tmp_path), "Other")
    with pytest.raises(ValueError, match="has no data sets"):
        series_data(tmp_path / "elsewhere", "Other")


def test_speech_of_nine_speakers_comes_with_the_extra():
    train, test = (read_series(embedded_archive() / f"JapaneseVowels/JapaneseVowels_{split}.ts") for split in
                   ("TRAIN", "TEST"))  # fmt: skip
    lengths = {values.shape[1] for file in (train, test) for values in file.series}
    assert (len(train.series), len(test.series), min(lengths), max(lengths)) == (270, 370, 7, 29)
    assert {len(values) for values in train.series} == {12}
    assert train.classes == [str(number) for number in range(1, 10)]
