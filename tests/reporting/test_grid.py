"""Heat map of scores in rows and columns."""

import pytest

from tracer_lightning.reporting.grid import draw_grid
from tracer_lightning.reporting.report.page import render
from tracer_lightning.reporting.report.record import RunRecord
from tracer_lightning.reporting.style import save, style
from tracer_lightning.scores import Metric, ScoreGrid

ACCURACY = Metric("accuracy", "accuracy", "acc")
ERROR = Metric("rmse", "RMSE", "RMSE", better="lower", percent=False)
GRID = ScoreGrid("images by texts", ("ID images", "OOD images"), ("ID text", "task"), (("a", "b"), ("c", None)))
NAMES = {"zero_shot": "before", "student": "student", "teacher": "teacher"}


def scores(metric, *values):
    return {name: {metric.name: value, "sets": ["set"]} for name, value in zip("abc", values, strict=True)}


def numbers(figure):
    """Texts of the cells of each panel."""
    return {axes.get_title(): [text.get_text() for text in axes.texts] for axes in figure.axes if axes.get_title()}


def test_scores_and_their_changes_are_written():
    before, after = scores(ACCURACY, 0.5, 0.7, 0.8), scores(ACCURACY, 0.6, 0.3, None)
    with style():
        figure = draw_grid(GRID, {"zero_shot": before, "student": after}, ACCURACY, NAMES)
    assert numbers(figure) == {
        "before": ["50.0", "70.0", "80.0", "–"],
        "student": ["60.0\n(+10.0)", "30.0\n(−40.0)", "–", "–"],
    }


def test_metrics_that_are_no_fractions():
    results = {"zero_shot": scores(ERROR, 1.5, 2, 4), "student": scores(ERROR, 1.25, 2, 6)}
    with style():
        figure = draw_grid(GRID, results, ERROR, NAMES)
    assert numbers(figure)["student"] == ["1.25\n(−0.25)", "2\n(+0)", "6\n(+2)", "–"]


@pytest.mark.parametrize("models", [("zero_shot",), ("zero_shot", "student", "teacher")])
def test_nothing_is_cut_off(tmp_path, models):
    results = {model: scores(ACCURACY, 0.5, 0.7, 0.8) for model in models}
    with style():
        figure = draw_grid(GRID, results, ACCURACY, NAMES)
        save(figure, tmp_path / "grid.png")
        box, page = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= page[0]
    assert box.y1 <= page[1]


def test_the_report_has_the_heat_map():
    def entries(*values):
        sets = {"set": {"split": "test", "role": "id", "n": 4, "accuracy": 0.5}}
        return {**sets, **scores(ACCURACY, *values)}

    before, student, teacher = entries(0.5, 0.7, 0.8), entries(0.6, 0.3, 0.8), entries(0.55, 0.6, 0.8)
    record = RunRecord(
        "run",
        settings={},
        scores={"zero_shot": before, "student": student, "teacher": teacher},
        details={model: {"set": {}} for model in NAMES},
        labels={},
        curves={},
        facts={},
        versions={},
        files={},
        declared=(ACCURACY,),
        grid=GRID,
    )
    section = render(record).split('<h2 id="grid">')[1].split("</section>")[0]
    assert "Images by texts" in section
    cells = [" ".join(cell.split()) for cell in section.split("<td ")[1:]]
    assert [cell.split('"')[1] for cell in cells] == ["good", "bad", "same", ""]
    assert [cell.split("--t: ")[1].split("%")[0] for cell in cells] == ["25", "100", "0", "0"]
    assert all(text in cells[1] for text in ("70.0 → <b>30.0</b>", "−40.0", "<b>60.0</b>", "−10.0"))
    assert 'id="grid"' not in render(record._replace(grid=None))
