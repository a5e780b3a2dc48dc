import json
import math
import shutil

import pytest

from tests.reporting.run_folders import scores, write_run
from tracer_lightning.engine import run_folder as results
from tracer_lightning.evaluation import suite
from tracer_lightning.reporting import runs as module
from tracer_lightning.reporting.comparison import AVERAGE, compare, select_results
from tracer_lightning.reporting.results_file import read_results
from tracer_lightning.reporting.runs import find_runs, group_runs


def test_names_are_those_that_runs_write():
    assert (module.RESULTS, module.CONFIG, AVERAGE) == (results.RESULTS, results.CONFIG, suite.AVERAGE)


@pytest.fixture
def sweep(tmp_path):
    for number, seed in enumerate([0, 1, 2, 10]):
        write_run(tmp_path / f"sweep/{8 + number}-tracer-seed{seed}", scores(0.9 + seed / 100, 0.8), seed=seed)
    return tmp_path / "sweep"


def test_all_below_a_folder_in_natural_order(sweep):
    runs, warnings = find_runs([str(sweep)])
    assert [run.folder.name.partition("-")[0] for run in runs] == ["8", "9", "10", "11"]
    assert [run.seed for run in runs] == [0, 1, 2, 10]
    assert warnings == []


def test_patterns_files_and_overlaps_find_each_run_once(sweep):
    first = next(sweep.glob("8-*"))
    runs, _ = find_runs([f"{sweep}/*-seed0", str(first), str(first / "results.json"), f"{sweep.parent}/**/9-*"])
    assert [run.seed for run in runs] == [0, 1]


def test_unfinished_and_broken_runs_are_reported(sweep):
    (sweep / "12-tracer-seed11/.hydra").mkdir(parents=True)
    (next(sweep.glob("8-*")) / "results.json").unlink()
    (next(sweep.glob("9-*")) / "config.yaml").unlink()
    (next(sweep.glob("10-*")) / "results.json").write_text('{"student": ')
    runs, warnings = find_runs([str(sweep)])
    assert [run.seed for run in runs] == [10]
    assert len(warnings) == 4
    for warning, name, reason in zip(
        warnings,
        ["8-tracer-seed0", "9-tracer-seed1", "10-tracer-seed2", "12-tracer-seed11"],
        ["no results.json", "config.yaml", "is not a valid file of a run", "no results.json"],
        strict=True,
    ):
        assert f"{sweep / name}:" in warning
        assert reason in warning


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: &x [1]\nb: *x", "references"),
        ("[" * 100_000, "more than 100 nested"),
        ("\n".join(" " * depth + "a:" for depth in range(200)), "more than 100 nested"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
    ],
)
def test_configurations_of_strangers_are_left_out(sweep, content, reason):
    folder = next(sweep.glob("8-*"))
    (folder / "config.yaml").write_text(content)
    _, [warning] = find_runs([str(sweep)])
    assert warning.startswith(f"{folder}:")
    assert reason in warning


@pytest.mark.parametrize("content", ["[]", "3", '{"name": "a", "seed": 0}', '{"name": "a", "student": {"b": {}}}'])
def test_other_files_are_not_read_as_runs(sweep, content):
    for path in sweep.glob("*/results.json"):
        path.write_text(content)
    with pytest.raises(ValueError, match=r"no finished run there"):
        find_runs([str(sweep)])


def test_no_such_folder(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\*: no such folder"):
        find_runs([f"{tmp_path}/nowhere*"])
    with pytest.raises(ValueError, match=r"no finished run there"):
        find_runs([str(tmp_path)])


def test_runs_equal_but_for_the_seed_are_one_group(sweep):
    write_run(sweep / "20-flyp-seed0", scores(0.9, 0.7), method="flyp", terms=[], teacher="No")
    groups, warnings = group_runs(find_runs([str(sweep)])[0])
    assert [group.seeds for group in groups] == [[0, 1, 2, 10], [0]]
    assert warnings == []


def test_repeated_runs_are_counted_once(sweep):
    shutil.copytree(next(sweep.glob("9-*")), sweep / "21-again")
    write_run(sweep / "22-tracer-seed1", scores(0.1, 0.8), seed=1)
    groups, warnings = group_runs(find_runs([str(sweep)])[0])
    assert [group.seeds for group in groups] == [[0, 1, 2, 10]]
    assert "21-again" in warnings[0]
    assert "the same result" in warnings[0]
    assert "22-tracer-seed1" in warnings[1]
    assert "ANOTHER result" in warnings[1]


def test_scores_that_are_no_numbers_are_written_as_null_and_read(tmp_path):
    """As those of a run whose model has diverged."""
    write_run(tmp_path / "0", scores(0.9, 0.8))
    path = tmp_path / "0" / "results.json"
    content = json.loads(path.read_text())
    content["student"]["mine"] |= {"ece": float("nan"), "macro_f1": float("-inf")}
    results.write_json(path, {**content, "validation": {"mine": {"ece": float("nan"), "accuracy": 0.5}}})
    read = read_results(path)
    assert read.student["mine"] == {**content["student"]["mine"], "ece": None, "macro_f1": None}
    assert read.student["other"] == content["student"]["other"]
    assert math.isnan(read.validation["mine"]["ece"])
    assert read.validation["mine"]["accuracy"] == 0.5


def test_a_repetition_on_another_machine_has_the_same_result(tmp_path):
    """Sums in another order differ in their last digits."""
    write_run(tmp_path / "0", scores(0.1, 0.8), seed=1)
    write_run(tmp_path / "1", scores(0.1 + 1e-8, 0.8), seed=1)
    _, warnings = group_runs(find_runs([str(tmp_path)])[0])
    assert "the same result" in warnings[0]


def test_older_results_without_members_and_top5(tmp_path):
    old = scores(0.9, 0.8)
    del old["avg_ood"]["sets"]
    write_run(tmp_path / "old", old)
    write_run(tmp_path / "new", scores(0.9, 0.8, accuracy_top5=1.0), seed=1)
    comparison = compare(group_runs(find_runs([str(tmp_path)])[0])[0])
    assert comparison.headline_sets == ["mine", "avg_ood"]
    assert "accuracy_top5" not in {key.metric for key in comparison.rows[-1].cells}
    with pytest.raises(ValueError, match=r"metrics accuracy_top5: none of these runs has it; they have accuracy, ece"):
        select_results(comparison, None, ["accuracy_top5"])
