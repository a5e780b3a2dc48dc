import json
import math

import pytest

from tests.reporting.run_folders import scores, set_scores, write_run
from tracer_lightning.evaluation import RetrievalSuite
from tracer_lightning.evaluation.retrieval import RETRIEVAL
from tracer_lightning.reporting.comparison import ResultKey, compare, select_results
from tracer_lightning.reporting.gains import gains
from tracer_lightning.reporting.runs import find_runs, group_runs


def comparison(folder, model="student"):
    return compare(group_runs(find_runs([str(folder)])[0])[0], model)


@pytest.fixture
def methods(tmp_path):
    for seed, accuracy in enumerate([0.90, 0.92, 0.97]):
        student, teacher = scores(accuracy, 0.8), scores(accuracy - 0.1, 0.85)
        write_run(tmp_path / f"tracer{seed}", student, teacher, seed=seed)
    write_run(tmp_path / "flyp", scores(0.99, 0.6), method="flyp", terms=[], teacher="No")
    return tmp_path


def test_mean_and_deviation_by_hand(methods):
    rows = {row.label: row for row in comparison(methods).rows}
    cell = rows["method=tracer"].cells[ResultKey("mine", "accuracy")]
    assert cell.mean == pytest.approx(0.93)
    assert cell.std == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert rows["method=tracer"].seeds == [0, 1, 2]
    alone = rows["method=flyp"].cells[ResultKey("avg_ood", "accuracy")]
    assert (alone.mean, alone.std) == (0.6, None)


def test_other_data_have_no_published_results(methods):
    assert all(cell.published is None for row in comparison(methods).rows for cell in row.cells.values())


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("student", ["zero_shot", "student", "student"]),
        ("teacher", ["zero_shot", "teacher"]),
        ("zero_shot", ["zero_shot"]),
        ("all", ["zero_shot", "student", "student", "teacher"]),
    ],
)
def test_models(methods, model, expected):
    assert [row.model for row in comparison(methods, model).rows] == expected


def test_no_run_has_a_teacher(tmp_path):
    write_run(tmp_path / "flyp", scores(0.9, 0.8))
    with pytest.raises(ValueError, match=r"model teacher: none of these runs has one"):
        comparison(tmp_path, "teacher")


def test_distinct_zero_shot_results_have_distinct_rows(tmp_path):
    for seed in (0, 1):
        for name, accuracy in (("small", 0.3), ("large", 0.4)):
            before = scores(accuracy, accuracy)
            write_run(
                tmp_path / f"{name}{seed}", scores(0.9, 0.8), zero_shot=before, seed=seed, **{"backbone.name": name}
            )
    result = comparison(tmp_path).rows
    assert [row.label for row in result][:2] == ["zero-shot, backbone=large", "zero-shot, backbone=small"]
    assert [row.cells[ResultKey("mine", "accuracy")].mean for row in result][:2] == [0.4, 0.3]


def test_zero_shot_results_are_named_by_what_they_depend_on_where_several_methods_share_one(tmp_path):
    for method, templates, accuracy in (("tracer", "one", 0.3), ("flyp", "one", 0.3), ("car_ft", "three", 0.4)):
        before, settings = scores(accuracy, accuracy), {"data.templates": templates, "trainer.epochs": accuracy}
        write_run(tmp_path / method, scores(0.9, 0.8), zero_shot=before, method=method, **settings)
    labels = [row.label for row in comparison(tmp_path).rows]
    assert set(labels[:2]) == {"zero-shot, data.templates=one", "zero-shot, data.templates=three"}
    assert "method=tracer" in labels


def test_swept_numbers_and_terms_are_sorted(tmp_path):
    for number, interval in enumerate([10, 1, 500]):
        write_run(tmp_path / f"every/{number}", scores(0.9, 0.8), every=interval)
    for number, terms in enumerate([["fd", "crd"], ["icl"], []]):
        write_run(tmp_path / f"terms/{number}", scores(0.9, 0.8), terms=terms)
    intervals, terms = (comparison(tmp_path / name).rows for name in ("every", "terms"))
    assert [row.label for row in intervals][1:] == [f"teacher.every_n_steps={number}" for number in (1, 10, 500)]
    assert [row.label for row in terms][1:] == ["distill_losses=none", "distill_losses=icl", "distill_losses=fd+crd"]


def test_select_results(methods):
    result = comparison(methods)
    assert select_results(result, None, None) == [
        ResultKey("mine", "accuracy"),
        ResultKey("avg_ood", "accuracy"),
        ResultKey("mine", "ece"),
        ResultKey("avg_ood", "ece"),
    ]
    assert [key.data_set for key in select_results(result, ["all"], ["ece"])] == ["mine", "other", "avg_ood"]
    assert select_results(result, ["other"], ["macro_f1"]) == [ResultKey("other", "macro_f1")]
    with pytest.raises(ValueError, match=r"sets nowhere: none of these runs has it; they have mine, other, avg_ood"):
        select_results(result, ["nowhere"], None)


def test_one_set_without_an_average(tmp_path):
    alone = {"mine": scores(0.9, 0.8)["mine"]}
    write_run(tmp_path / "run", alone, zero_shot=alone)
    result = comparison(tmp_path)
    assert result.headline_sets == ["mine"]
    assert [row.label for row in result.rows] == ["zero-shot", "method=tracer"]


def test_means_over_other_sets_are_shown_by_default(tmp_path):
    means = {"avg_other": {"sets": ["birds"], "accuracy": 0.6, "ece": 0.1, "macro_f1": 0.6}}
    after = {**scores(0.9, 0.8), "birds": set_scores(0.6, role="other"), **means}
    write_run(tmp_path / "run", after, zero_shot=after)
    result = comparison(tmp_path)
    assert result.headline_sets == ["mine", "avg_ood", "avg_other"]
    assert result.roles["birds"] == "other"
    assert {key.data_set for key in select_results(result, None, None)} == {"mine", "avg_ood", "avg_other"}


def test_recalls_of_both_directions_are_shown_by_default(tmp_path):
    recalls = {metric.name: 0.5 for metric in RETRIEVAL}
    after = {"far": {"split": "test", "role": "id", "n": 9, **recalls}, "pets": set_scores(0.6, role="other")}
    folder = write_run(tmp_path / "run", after, zero_shot=after)
    results = json.loads((folder / "results.json").read_text())
    results["metrics"] = {metric.name: metric.declaration() for metric in RetrievalSuite.metrics}
    (folder / "results.json").write_text(json.dumps(results))
    expected = ["recall_at_1", "i2t_recall_at_1", "t2i_recall_at_1", "accuracy", "ece"]
    assert comparison(tmp_path).headline_metrics == expected


def test_sets_without_scores_are_left_out(tmp_path):
    """Results of a set of which no image could be read."""

    def with_an_empty_set(accuracy):
        result = scores(accuracy, 0.8)
        result["other"] = {**result["other"], "n": 0, "accuracy": None, "ece": None, "macro_f1": None}
        result["avg_ood"] = {"sets": [], "accuracy": None, "ece": None, "macro_f1": None}
        return result

    for seed, accuracy in enumerate((0.9, 0.8)):
        write_run(tmp_path / f"run{seed}", with_an_empty_set(accuracy), zero_shot=with_an_empty_set(0.5), seed=seed)
    (before, after) = comparison(tmp_path).rows
    for row in (before, after):
        assert {place.data_set for place in row.cells} == {"mine"}
    assert after.cells[ResultKey("mine", "accuracy")].mean == pytest.approx(0.85)
    assert {place.data_set for place in gains(after)} == {"mine"}
