"""The figure of gains on the task against changes on other data sets."""

import pytest

from tests.reporting.run_folders import set_scores
from tracer_lightning.reporting.report.page import render
from tracer_lightning.reporting.report.record import RunRecord
from tracer_lightning.reporting.report.trade_off import trade_offs_of
from tracer_lightning.scores import CLASSIFICATION, RECALL, Metric

ERROR = Metric("rmse", "RMSE", "RMSE", better="lower", percent=False)


def record(before, declared=CLASSIFICATION, **trained):
    scores = {"zero_shot": before, **trained}
    empty = {"labels": {}, "curves": {}, "facts": {}, "versions": {}, "files": {}}
    details = {model: {name: {} for name in sets} for model, sets in scores.items()}
    return RunRecord("run", settings={}, scores=scores, details=details, declared=declared, **empty)


def labelled(task, *others):
    return {
        "task": set_scores(task, role="id"),
        "shift": set_scores(0.9),
        **{f"other {number}": set_scores(accuracy, role="other") for number, accuracy in enumerate(others)},
    }


def places(drawing):
    return {point["model"]: (point["x"], point["y"]) for point in drawing.points}


def test_gains_are_to_the_right_and_losses_below():
    run = record(labelled(0.25, 0.75, 0.5), student=labelled(0.75, 0.25, 0.25), teacher=labelled(0.5, 0.625, 0.5))
    (trade_off,) = trade_offs_of(run)
    at = places(trade_off.drawing)
    assert at["zero_shot"] == trade_off.drawing.origin
    assert at["zero_shot"][0] < at["teacher"][0] < at["student"][0]
    assert at["zero_shot"][1] < at["teacher"][1] < at["student"][1]  # y points downwards
    texts = [(task.text, task.change and task.change.text) for task, _ in trade_off.rows]
    assert texts == [("25.0", None), ("75.0", "+50.0"), ("50.0", "+25.0")]
    assert [others.text for _, others in trade_off.rows] == ["62.5", "25.0", "56.2"]


def test_the_page_says_what_is_compared():
    page = render(record(labelled(0.25, 0.75, 0.5), student=labelled(0.75, 0.25, 0.25)))
    section = page.split('<h2 id="trade-off">')[1].split("</section>")[0]
    for text in ("gain in accuracy (points)", "+50.0", "−37.5", "mean over other 0, other 1", ">before</text>"):
        assert text in section, text
    assert "shift" not in section
    assert "teacher" not in section


def test_recall_against_accuracy_and_errors():
    recall = Metric(RECALL, "recall@1", "R@1")
    pairs = {"split": "test", "role": "id", "n": 10}

    def scores(value, accuracy, error):
        maps = {"split": "test", "role": "other", "n": 10, "rmse": error}
        return {"pairs": {**pairs, RECALL: value}, "labels": set_scores(accuracy, role="other"), "maps": maps}

    metrics = (recall, *CLASSIFICATION, ERROR)
    run = record(scores(0.1, 0.5, 2.0), metrics, student=scores(0.2, 0.4, 3.0))
    accuracy, error = (trade_off.drawing for trade_off in trade_offs_of(run))
    assert (accuracy.x_title, accuracy.y_title) == (
        "task: gain in recall@1 (points)",
        "others: gain in accuracy (points)",
    )
    assert error.y_title == "others: reduction of RMSE"
    assert places(error)["student"][1] > error.origin[1]


@pytest.mark.parametrize(
    "run",
    [
        record(labelled(0.5), student=labelled(0.6)),
        record(labelled(0.5, 0.5)),
        record(labelled(0.5, 0.5), student=labelled(float("nan"), 0.5)),
        record(labelled(0.5, 0.5), student=labelled(0.5, 0.5))._replace(scores={"student": labelled(0.5, 0.5)}),
        record({"other": set_scores(0.5, role="other")}, student={"other": set_scores(0.4, role="other")}),
    ],
    ids=["no other set", "not trained", "not finite", "nothing before", "no task"],
)
def test_there_is_none_without_both_changes(run):
    assert trade_offs_of(run) == []
    assert "trade-off" not in render(run)


def test_scores_may_not_change():
    run = record(labelled(0.5, 0.5), student=labelled(0.5, 0.5))
    assert places(trade_offs_of(run)[0].drawing)["student"] == trade_offs_of(run)[0].drawing.origin
