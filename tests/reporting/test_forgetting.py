import warnings

import pytest

from tests.evaluation.test_difficulty import by_hand
from tests.reporting.run_folders import scores, write_run
from tracer_lightning.evaluation.difficulty import difficulty
from tracer_lightning.reporting.forgetting import (
    NUMBERS,
    AccuracyChange,
    changes,
    correlations,
    other_starts,
    rank_correlation,
)
from tracer_lightning.reporting.runs import find_runs, group_runs

SETS = ("mine", "plain", "small")


def read_changes(folder):
    return changes(group_runs(find_runs([str(folder)])[0])[0])


def numbers(**values):
    return {name: dict.fromkeys(NUMBERS, value) for name, value in values.items()}


def test_changes_are_means_over_seeds_of_each_group(tmp_path):
    before = scores(0.5, 0.4, names=SETS)
    for seed, after in enumerate([0.9, 0.7]):
        write_run(tmp_path / f"a{seed}", scores(after, after - 0.6, names=SETS), zero_shot=before, seed=seed)
    write_run(tmp_path / "b", scores(0.5, 0.6, names=SETS), zero_shot=before, beta=0.2)
    changes = {(change.runs, change.data_set): change for change in read_changes(tmp_path)}
    assert set(changes) == {(f"kernel.beta={beta}", name) for beta in (0.5, 0.2) for name in SETS}
    assert changes["kernel.beta=0.5", "mine"] == AccuracyChange("kernel.beta=0.5", 2, "mine", "gain", 0.5, 0.3)
    assert changes["kernel.beta=0.5", "small"] == AccuracyChange("kernel.beta=0.5", 2, "small", "forgetting", 0.4, 0.2)
    assert changes["kernel.beta=0.2", "small"].change == -0.2
    assert str(changes["kernel.beta=0.2", "mine"].change) == "0.0"


def test_sets_without_scores_before_and_after_are_left_out(tmp_path):
    write_run(tmp_path / "a", scores(0.9, 0.3, names=SETS), zero_shot=scores(0.5, 0.4, names=("mine", "other")))
    assert [change.data_set for change in read_changes(tmp_path)] == ["mine"]
    assert read_changes(tmp_path)[0].runs == "method=tracer"


def test_rank_correlation_by_hand():
    """Squared differences of ranks add up to 2: 1 - 6 * 2 / (4 * 15); with two degrees of freedom p = 1 - |ρ|."""
    assert rank_correlation([1, 2, 3, 4], [10, 30, 20, 400]) == pytest.approx((0.8, 0.2))
    assert rank_correlation([1, 2, 3], [3, 2, 1])[0] == pytest.approx(-1)


@pytest.mark.parametrize(
    ("first", "second"), [([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5])]
)
def test_an_undefined_correlation_is_none_without_a_warning(first, second):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rank_correlation(first, second) == (None, None)


def test_correlations_match_data_sets_by_name(tmp_path):
    after = scores(0.9, 0.3, names=SETS)
    after["small"]["accuracy"] = 0.1
    for beta in (0.2, 0.5):
        write_run(tmp_path / f"{beta}", after, zero_shot=scores(0.5, 0.4, names=SETS), beta=beta)
    result = correlations(numbers(mine=0.1, plain=0.2, small=0.3, unseen=0.4), read_changes(tmp_path))
    assert result["gain"]["iimm"] == (None, None, 2, 1)
    assert result["forgetting"]["iimm"] == pytest.approx((1.0, 0.0, 4, 2))
    assert set(result["gain"]) == set(result["forgetting"]) == set(NUMBERS)
    apart = correlations(numbers(plain=None, small=0.3), read_changes(tmp_path))
    assert apart["forgetting"]["iimm"] == (None, None, 2, 1)


def test_runs_that_began_with_another_model_are_found(tmp_path):
    write_run(tmp_path / "a", scores(0.9, 0.3, names=SETS), zero_shot=scores(0.5, 0.4, names=SETS))
    assert other_starts(numbers(mine=0.505, plain=0.395, other=0.9), read_changes(tmp_path)) == []
    assert [change.data_set for change in other_starts(numbers(mine=0.5, small=0.42), read_changes(tmp_path))] == [
        "small"
    ]


def test_numbers_are_those_of_the_difficulty():
    assert set(difficulty(by_hand())) == {"n", *NUMBERS}
