import csv
import io

import pytest
from rich.console import Console

from tracer_lightning.evaluation.similarity import MEASURES, Similarity
from tracer_lightning.reporting.similarity import (
    ModelPair,
    curves,
    diagonal,
    heat_maps,
    similarity_table,
    write_similarities,
)


def similar(first=4, second=4, start=0.9):
    """Each value tells its place."""
    values = [[start - i / 10 + j / 100 for j in range(second)] for i in range(first)]
    names = [[*map(str, range(1, n)), "features"] for n in (first, second)]
    return Similarity(*names, values, values, [[None] * second] * first, ([1] * first, [2] * second), 50)


def compared(run="tracer", model="student"):
    return ModelPair(f"runs/{run}", model, "start", "model", run, f"{run} {model}")


FOUND = {compared(): similar(), compared(model="teacher"): similar(start=0.95), compared("flyp"): similar(start=-0.5)}
DEEPER = {compared(): similar(3, 20)}


def shown(table):
    text = io.StringIO()
    Console(file=text, width=100).print(table)
    return text.getvalue()


def test_the_same_blocks_are_along_the_diagonal():
    assert diagonal(similar(), "cka") == pytest.approx([0.9, 0.81, 0.72, 0.63])


def test_the_table_has_each_measure_of_each_comparison():
    text = shown(similarity_table("title", FOUND))
    rows = [line.split() for line in text.splitlines()]
    assert rows.count(["tracer", "student", "0.900", "0.810", "0.720", "0.630"]) == 2
    assert rows.count(["flyp", "student", "−0.500", "−0.590", "−0.680", "−0.770"]) == 2
    assert rows.count(["tracer", "teacher", "–", "–", "–", "–"]) == 1
    assert "both may leave [0, 1] a little" in " ".join(text.split())


def test_every_pair_is_in_the_file(tmp_path):
    write_similarities(tmp_path / "x.csv", {"small": FOUND, "text": DEEPER})
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 16 + 60
    last = rows[-1]
    assert (last["first"], last["model"], last["second"], last["inputs"]) == ("runs/tracer", "student", "start", "text")
    assert (last["first_block"], last["second_block"], last["svcca"]) == ("features", "features", "")
    assert float(last["cka"]) == DEEPER[compared()].cka[2][19]


def test_curves_are_those_of_the_same_blocks():
    panels = curves("title", FOUND).axes
    lines = panels[0].get_lines()[:3]
    for line, (one, similarity) in zip(lines, FOUND.items(), strict=True):
        assert line.get_ydata().tolist() == diagonal(similarity, "cka")
        assert line.get_label() == one.name
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-"]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["1", "2", "3", "feat."]


def test_towers_of_different_depth_have_only_a_heat_map():
    assert (curves("", DEEPER), similarity_table("", DEEPER)) == (None, None)
    figure = heat_maps("", DEEPER)
    image = figure.axes[0].get_images()[0]
    assert image.get_array().shape == (3, 20)
    assert image.get_array()[1, 2] == similar(3, 20).cka[1][2]
    assert figure.axes[0].get_xticklabels()[-1].get_text() == "feat."
    assert len(figure.axes[0].get_xticklabels()) <= 14


def test_pairs_of_other_depths_are_left_out_of_curves_and_have_their_map():
    both = {**FOUND, compared("other"): similar(3, 3), compared("deep"): similar(3, 4)}
    assert len(curves("", both).axes[0].get_lines()) == 3 + 1
    panels = heat_maps("", both).axes
    assert sum(bool(axes.get_images()) for axes in panels) == 5 * 2
    assert {text.get_text() for text in panels[2].texts} >= {"−0.50", "−0.47"}


def test_measures_are_fields():
    assert set(MEASURES) <= set(Similarity._fields)
