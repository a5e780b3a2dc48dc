"""What each objective does to an embedder, where a nuisance looks more like the source than the class does."""

import pytest

from tests.alignment.toy import ALIGNED, FURTHER, OF_LABELS, run

SEEDS = range(5)


def test_distortion_alone_collapses():
    outcome = run(*OF_LABELS["fld"], seed=0)
    assert outcome.entropy < 0.05
    assert outcome.transported < 0.35  # of four classes
    assert outcome.log_loss <= outcome.bound + 1e-5


def test_information_does_not_collapse():
    outcome = run(*OF_LABELS["mi"], seed=0)
    assert outcome.entropy > 0.8
    assert outcome.transported > 0.6
    assert outcome.log_loss <= outcome.bound + 1e-5


@pytest.mark.slow
def test_the_distance_alone_loses_what_the_labels_keep():
    probes = {}
    for name, objective in {**ALIGNED, "mi": OF_LABELS["mi"]}.items():
        outcomes = [run(*objective, seed=seed) for seed in SEEDS]
        assert all(outcome.log_loss <= outcome.bound + 1e-5 for outcome in outcomes)
        probes[name] = sum(outcome.probe for outcome in outcomes) / len(SEEDS)
    assert probes["fa_fld"] > probes["fa"] + 0.08
    assert probes["mi"] >= 0.8


@pytest.mark.slow
def test_the_bound_holds_after_other_objectives_too():
    for objective in (*FURTHER.values(), OF_LABELS["fld"]):
        for seed in SEEDS:
            outcome = run(*objective, seed=seed)
            assert outcome.log_loss <= outcome.bound + 1e-5
