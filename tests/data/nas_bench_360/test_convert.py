"""The ten tasks of NAS-Bench-360, from files as people have them to arrays."""

import math
import pickle

import numpy as np
import pytest
import torch

from tests.data.nas_bench_360.stand_ins import WRITERS
from tracer_lightning.commands.program import run_plain
from tracer_lightning.data.arrays.files import read_splits
from tracer_lightning.data.nas_bench_360 import TASKS, convert
from tracer_lightning.data.nas_bench_360.audio import BANDS, FFT, RATE, log_mel, mel_filters
from tracer_lightning.data.nas_bench_360.maps import read_darcy, read_psicov

QUICK = ("cifar100", "ninapro", "satellite", "cosmic", "fsd50k")


def test_every_task_has_a_converter_and_an_experiment():
    assert set(WRITERS) - {"pickle"} == set(TASKS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.exhaustive] * (name not in QUICK))
        for name in TASKS
        if name != "darcy"
    ],
)
def test_a_task_is_converted(tmp_path, name):
    (tmp_path / "source").mkdir()
    WRITERS[name](tmp_path / "source")
    counts = convert(name, tmp_path / "source", tmp_path / "out", any_count=True)
    splits, benchmark = read_splits(tmp_path / "out", TASKS[name].task), TASKS[name]
    assert {split: len(part.samples) for split, part in splits.items()} == counts
    assert set(counts) == {"train", "val", "test"}
    for part in splits.values():
        assert part.samples.shape[1:] == benchmark.sample
        assert part.samples.dtype == benchmark.dtype
        if benchmark.task != "classification":
            assert part.targets.shape[1:] == benchmark.outputs


@pytest.mark.parametrize("name", ["cifar100", "satellite"])
def test_validation_samples_are_no_training_samples(tmp_path, name):
    WRITERS[name](tmp_path)
    parts = TASKS[name].read(tmp_path)
    rows = {split: {part.read(number)[0].tobytes() for number in range(part.size)} for split, part in parts.items()}
    assert len(set().union(*rows.values())) == sum(map(len, rows.values())) == sum(p.size for p in parts.values())
    again = TASKS[name].read(tmp_path)
    assert all(np.array_equal(parts["val"].read(n)[0], again["val"].read(n)[0]) for n in range(parts["val"].size))


def test_a_record_has_windows_in_one_split_only(tmp_path):
    WRITERS["ecg"](tmp_path)
    parts = TASKS["ecg"].read(tmp_path)
    rows = {
        split: {part.read(number)[0][0, :5].tobytes() for number in range(part.size)} for split, part in parts.items()
    }
    assert not rows["train"] & rows["val"]
    assert not rows["train"] & rows["test"]
    assert not rows["val"] & rows["test"]
    labels = [parts["train"].read(number)[1] for number in range(parts["train"].size)]
    assert labels.count(3) > labels.count(0)  # noise has windows that overlap more


def test_solutions_have_their_coordinates(tmp_path):
    WRITERS["darcy"](tmp_path)
    parts = read_darcy(tmp_path)
    assert {split: part.size for split, part in parts.items()} == {"train": 900, "val": 100, "test": 100}
    sample, solution = parts["val"].read(0)
    assert (sample.shape, solution.shape) == ((3, 3, 3), (3, 3))
    assert sample[1].tolist() == [[0] * 3, [0.5] * 3, [1] * 3]
    assert sample[2].tolist() == [[0, 0.5, 1]] * 3


def test_proteins_have_features_of_pairs_and_unknown_distances_outside(tmp_path):
    WRITERS["psicov"](tmp_path)
    parts = read_psicov(tmp_path)
    features, distances = parts["train"].read(0)
    assert (features.shape, distances.shape) == ((57, 512, 512), (512, 512))
    assert np.array_equal(features[0], features[1].T)
    assert not features[:, 6:].any()
    assert np.isnan(distances[6:]).all()
    assert np.isnan(distances[:, 6:]).all()
    assert 1 <= distances[:6, :6].min() <= distances[:6, :6].max() <= 16
    _, distances = parts["test"].read(0)
    assert distances[2, 2] == pytest.approx((distances[2, 3] + distances[1, 2]) / 2)
    assert np.nanmax(distances) > 16


def test_a_tone_is_in_its_band():
    bank = mel_filters()
    assert bank.shape == (BANDS, FFT // 2 + 1)
    centres = bank.argmax(dim=1) * RATE / FFT  # Hz
    wave = torch.sin(2 * math.pi * 2000 * torch.arange(RATE) / RATE)
    energies = log_mel(wave, bank)
    assert energies.shape == (96, 102)
    assert abs(float(centres[energies[:, 50].argmax()]) - 2000) < 60
    assert not energies[:, 101].any()  # the frame that the benchmark adds
    assert energies.max() - energies.min() <= 80.01


def test_counts_shapes_and_classes_are_checked(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    WRITERS["ninapro"](source)
    with pytest.raises(ValueError, match="train must have 2,638 samples, found 6; download again"):
        convert("ninapro", source, tmp_path / "out")
    np.save(source / "ninaPro/label_test.npy", np.full(4, 18))
    with pytest.raises(ValueError, match="test, sample 0: the class must be 0 to 17, found 18"):
        convert("ninapro", source, tmp_path / "out", any_count=True)
    np.save(source / "ninaPro/ninapro_val.npy", np.zeros((3, 52, 15), dtype=np.float32))
    with pytest.raises(
        ValueError, match=r"val, sample 0: must have the shapes \(1, 16, 52\) and \(\), found \(1, 15, 52\)"
    ):
        convert("ninapro", source, tmp_path / "out", any_count=True)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"challenge2017\.pkl is missing"):
        convert("ecg", source, tmp_path / "out")


class Attack:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickles_are_not_executed(tmp_path, capsys):
    (tmp_path / "challenge2017.pkl").write_bytes(pickle.dumps({"data": Attack(), "label": []}))
    assert run_plain("make_arrays", ["ecg", str(tmp_path), str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "builtins.print, which is no plain value and is not executed" in err


def test_the_command_says_how_to_go_on(tmp_path, capsys):
    (tmp_path / "source").mkdir()
    WRITERS["satellite"](tmp_path / "source")
    out = tmp_path / "out"
    assert run_plain("make_arrays", ["satellite", str(tmp_path / "source"), str(out)]) == 0
    assert capsys.readouterr().out == (
        f"{out}: train 18, val 2, test 4 samples; train with experiment=nb360_satellite data.root={out}\n"
    )
    assert run_plain("make_arrays", ["satellite", str(tmp_path / "source"), str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert run_plain("make_arrays", ["mnist", str(tmp_path), str(out)]) == 1
    assert "TASK must be one of cifar100, spherical" in capsys.readouterr().err
