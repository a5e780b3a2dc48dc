"""The page that compares runs."""

import csv
import io
import re

import pytest

from tests.callbacks.test_report import Page
from tests.reporting.run_folders import scores, write_run
from tests.reporting.test_comparison import comparison
from tests.reporting.test_escaping import EVIL
from tests.reporting.test_frontier import write_merge
from tracer_lightning.reporting.comparison import select_results
from tracer_lightning.reporting.comparison_page import Groups, curve_panels, render, scatters
from tracer_lightning.reporting.formats import raw
from tracer_lightning.reporting.merges import find_interpolations
from tracer_lightning.reporting.tables import TableColumn, sections

BEFORE = (0.5, 0.4)


def metrics(*values):
    """Content of metrics.csv: a loss at steps 1, 2, ..."""
    return "epoch,step,train/loss/total\n" + "".join(f"0,{step},{value}\n" for step, value in enumerate(values, 1))


@pytest.fixture
def runs(tmp_path):
    """Two methods, one of them with two seeds, and a merge of the other."""
    for seed in (0, 1):
        folder = write_run(tmp_path / f"runs/tracer-{seed}", scores(0.8, 0.38), scores(0.7, 0.39), seed=seed)
        (folder / "metrics.csv").write_text(metrics(4.0, 3.0 + seed, 2.0))
        (folder / "report.html").touch()
    write_run(tmp_path / "runs/flyp#1", scores(0.9, 0.2), method="flyp")
    write_merge(
        tmp_path / "runs/merge",
        {"0.0": BEFORE, "0.5": (0.8, 0.42), "1.0": (0.9, 0.2)},
        method="flyp",
        run_folder=tmp_path / "runs/flyp#1",
    )
    return tmp_path / "runs"


def compared(folder, model="student"):
    result = comparison(folder, model)
    return result, Groups(result)


def rendered(folder, model="student"):
    result, groups = compared(folder, model)
    panels = scatters(result, find_interpolations([str(folder)])[0], groups)
    curves = curve_panels(result, groups)
    html = render(result, sections(result, []), panels, curves, groups, folder.parent / "page", {"table.csv": "all"})
    return html, Page(html)


def test_the_page_has_a_row_for_each_group_and_links_the_reports(runs):
    (runs / "flyp#1/report.html").touch()
    html, page = rendered(runs, "all")
    rows = [row for row in page.all("tr") if "data-group" in row]
    assert len(rows) == 4  # zero-shot, student and teacher of tracer, student of flyp
    assert len({row["data-group"] for row in rows}) == 3
    links = [link["href"] for link in page.all("a") if not link["href"].startswith("#")]
    tracer = ["../runs/tracer-0/report.html", "../runs/tracer-1/report.html"]
    assert sorted(links) == ["../runs/flyp%231/report.html", *sorted(2 * tracer), "table.csv"]
    for text in ("method=tracer", "80.0 ± 0.0", "90.0", "+40.0", "macro-F1", "against zero-shot"):
        assert text in page.words, text
    assert len(page.all("script")) == 1
    assert not re.search(r"https?://|@import|url\(", html)


def test_tags_are_a_column_of_all_tables_where_a_run_has_any(tmp_path):
    for seed, tags in enumerate((["paper"], ["v2", "paper"])):
        write_run(tmp_path / f"runs/{seed}", scores(0.8, 0.4), seed=seed, tags=tags)
    write_run(tmp_path / "runs/flyp", scores(0.8, 0.4), method="flyp")
    result = comparison(tmp_path / "runs")
    assert [row.tags for row in result.rows] == [[], ["paper", "v2"], []]
    results, _ = sections(result, select_results(result, None, None))
    assert results.tables[0].columns[0] == TableColumn("", "tags", ["", "paper, v2", ""])
    assert {line["tags"] for line in csv.DictReader(io.StringIO(raw(result)))} == {"", "paper, v2"}
    assert "paper, v2" in rendered(tmp_path / "runs")[1].words


def test_runs_without_reports_have_no_links(runs):
    _, page = rendered(runs)
    assert not [link for link in page.all("a") if "flyp" in link["href"]]


def test_a_merge_is_a_line_from_the_model_before_training_to_its_run(runs):
    result, groups = compared(runs)
    ((panel,), left_out) = scatters(result, find_interpolations([str(runs)])[0], groups)
    points = {row.label: point for row, point in zip(result.rows, panel.points, strict=True)}
    (line,) = panel.lines
    assert left_out == 0
    assert (line.points[0].x, line.points[0].y) == (points["zero-shot"].x, points["zero-shot"].y)
    assert (line.points[-1].x, line.points[-1].y) == (points["method=flyp"].x, points["method=flyp"].y)
    assert line.group == points["method=flyp"].group != points["method=tracer"].group
    assert line.points[1].text == "method=flyp + WiSE-FT (student, seed 0), alpha 0.5: 80.0 % on ID, 42.0 % on OOD sets"
    assert panel.points[0].x < points["method=tracer"].x < points["method=flyp"].x
    assert line.points[1].y < points["zero-shot"].y  # downwards


def test_rows_of_other_test_sets_are_left_out_of_the_scatter(runs):
    elsewhere = ("mine", "elsewhere")
    write_run(runs / "x", scores(0.8, 0.3, names=elsewhere), zero_shot=scores(*BEFORE, names=elsewhere), beta=0.1)
    result, groups = compared(runs)
    drawn = scatters(result, [], groups)
    assert (len(drawn.panels[0].points), drawn.left_out) == (len(result.rows) - 2, 2)


def test_curves_of_all_runs_share_a_panel(runs):
    (runs / "flyp#1/metrics.csv").write_text("step,train/loss/total\n1,x\n")
    result, groups = compared(runs)
    panels, left_out, (warning,) = curve_panels(result, groups)
    assert [panel.title for panel in panels] == ["train/loss/total"]
    assert [curve.text for curve in panels[0].curves] == ["method=tracer, seed 0", "method=tracer, seed 1"]
    assert panels[0].curves[0].end == panels[0].curves[1].end
    assert left_out == 0
    assert "flyp#1/metrics.csv: not a valid file of a run" in warning


def test_texts_of_runs_are_no_markup(tmp_path):
    for number, value in enumerate((EVIL, "</script><script>alert(1)</script>")):
        folder = write_run(tmp_path / f"runs/{number}", scores(0.9, 0.8), **{"data.train_styles": value, "name": value})
        (folder / "metrics.csv").write_text(metrics(1.0, 2.0).replace("total", "<b>x</b>"))
    html, page = rendered(tmp_path / "runs")
    assert len(page.all("script")) == 1
    assert "<b>x" not in html
    assert "alert(1)" in page.words


@pytest.mark.slow
def test_three_hundred_runs_make_a_page_of_a_few_megabytes(tmp_path):
    names = ("mine", *(f"ood{number}" for number in range(10)))
    lines = metrics(*(1 / step for step in range(1, 401)))
    for number in range(300):
        folder = tmp_path / f"runs/{number}"
        write_run(folder, scores(0.8, 0.4, names=names), zero_shot=scores(*BEFORE, names=names), beta=number / 300)
        (folder / "metrics.csv").write_text(lines)
    html, page = rendered(tmp_path / "runs")
    assert len(html) < 4e6
    assert len([row for row in page.all("tr") if "data-group" in row]) == 301
    assert len([mark for mark in page.all("g") if "run" in mark["class"]]) == 300
