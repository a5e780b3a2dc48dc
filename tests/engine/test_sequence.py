"""Measures of a sequence of tasks, from R."""

import pytest
from lightning.pytorch.utilities import rank_zero_only

from tracer_lightning.engine import run_folder
from tracer_lightning.engine.sequence import check_order, provide_weights, summarize, task_scores
from tracer_lightning.reporting.results_file import Results

R = [
    [0.2, 0.3, 0.1],
    [0.8, 0.4, 0.2],
    [0.6, 0.9, 0.5],
    [0.7, 0.5, 0.7],
]


def test_a_matrix_by_hand():
    assert summarize(R) == pytest.approx(
        {
            "learned": (0.8 + 0.9 + 0.7) / 3,
            "last": (0.7 + 0.5 + 0.7) / 3,
            "average": (0.8 + (0.6 + 0.9) / 2 + (0.7 + 0.5 + 0.7) / 3) / 3,
            "bwt": ((0.7 - 0.8) + (0.5 - 0.9)) / 2,
            "forgetting": ((0.8 - 0.7) + (0.9 - 0.5)) / 2,
        }
    )


def test_forgetting_is_against_the_best_score_of_any_earlier_task():
    matrix = [[0.1] * 3, [0.5, 0.6, 0.1], [0.7, 0.4, 0.1], [0.6, 0.5, 0.9]]
    measures = summarize(matrix)
    assert measures["bwt"] == pytest.approx(((0.6 - 0.5) + (0.5 - 0.4)) / 2)
    assert measures["forgetting"] == pytest.approx(((0.7 - 0.6) + (0.6 - 0.5)) / 2)


def test_a_larger_error_is_a_loss():
    errors = [[1 - score for score in row] for row in R]
    accuracies, measures = summarize(R), summarize(errors, is_lower_better=True)
    for name in ("bwt", "forgetting"):
        assert measures[name] == pytest.approx(accuracies[name])
    for name in ("learned", "last", "average"):
        assert measures[name] == pytest.approx(1 - accuracies[name])


def test_one_task_has_nothing_to_forget():
    measures = summarize([[0.2], [0.8]])
    assert (measures["learned"], measures["last"], measures["average"]) == (0.8, 0.8, 0.8)
    assert measures["bwt"] is None
    assert measures["forgetting"] is None


def test_an_unknown_score_makes_no_number():
    assert set(summarize([[0.2, 0.3], [None, 0.4], [0.5, 0.6]]).values()) == {None}


def test_a_score_is_the_mean_over_the_sets_of_the_task():
    def scores(*values):
        return {name: {"accuracy": value} for name, value in zip("abc", values, strict=True)}

    results = [
        Results(zero_shot=scores(0.1, 0.2, 0.3), student=scores(0.4, 0.6, 0.1), teacher=scores(0.5, 0.7, 0.2)),
        Results(zero_shot=scores(0.4, 0.6, 0.1), student=scores(0.3, 0.3, None), teacher=scores(0.2, 0.4, 0.9)),
    ]
    student = task_scores(results, [["a", "b"], ["c"]], "accuracy", "student")
    assert student == [pytest.approx([0.15, 0.3]), pytest.approx([0.5, 0.1]), [pytest.approx(0.3), None]]
    assert task_scores(results, [["a"]], "accuracy", "teacher") == [[0.1], [0.5], [0.2]]


def test_a_finished_task_after_an_unfinished_one_is_refused(tmp_path):
    folders = [tmp_path / name for name in ("1-a", "2-b", "3-c")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "results.json").write_text("{}")
    check_order(folders)
    (folders[2] / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"3-c is finished, and .*2-b, from which it starts, is not; delete"):
        check_order(folders)


def test_other_processes_do_not_wait_for_a_dead_one(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "CHECK_INTERVAL", 1)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    path = tmp_path / "1-photo/handed_on.ckpt"
    path.parent.mkdir()
    with pytest.raises(ValueError, match=r"handed_on\.ckpt has ended without writing it"):
        provide_weights(path, load=list)
    path.touch()
    assert provide_weights(path, load=list) == path
