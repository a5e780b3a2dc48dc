"""Time and memory of stage 1."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import CONF
from tracer_lightning.benchmarks import alignment
from tracer_lightning.benchmarks.alignment import AlignmentOptions, distance_memory, measure_distances
from tracer_lightning.functional.transport import wasserstein


def settings(name):
    return yaml.safe_load((Path(CONF) / f"{name}.yaml").read_text())


def test_the_measured_stage_is_that_of_the_demo():
    backbone, stage, demo = settings("backbone/digits_vit"), settings("align/none"), settings("experiment/cross_modal")
    assert {name: backbone[name] for name in alignment.BACKBONE} == alignment.BACKBONE
    assert list(alignment.STYLES) == settings("experiment/digits_pretrain")["data"]["train_styles"]
    assert demo["data"]["shots"] == alignment.SHOTS
    assert (stage["samples"], stage["source_samples"]) == (alignment.SAMPLES, alignment.SOURCE_SAMPLES)
    assert stage["lr"] == alignment.LEARNING_RATE


def test_distances_are_measured_by_method_and_size():
    results = measure_distances(AlignmentOptions(samples=4, doublings=1, steps=1, rounds=2))
    assert list(results) == ["4", "8"]
    for samples, row in results.items():
        assert set(row) == {"exact", "sinkhorn", "sliced"}
        assert all(min(entry["seconds"]["range"]) >= 0 for entry in row.values())
        pair = (alignment.random_features(int(samples), 64, seed) for seed in (0, 1))
        assert row["exact"]["value"] == pytest.approx(wasserstein(*pair).item())


@pytest.mark.slow
def test_a_distance_to_5000_source_samples_takes_little_memory():
    """31 MB were measured in a new process; a difference of each pair of features would take 2 GB."""
    assert distance_memory(128, 5_000, 768) < 100e6
