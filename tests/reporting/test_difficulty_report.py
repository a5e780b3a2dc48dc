import io

import pytest
from rich.console import Console

from tracer_lightning.reporting.difficulty_report import NAMES, correlation_table, difficulty_table, scatter
from tracer_lightning.reporting.forgetting import NUMBERS, AccuracyChange, correlations

VALUES = (0.905, 0.125, -0.0001, 0.6, 0.25)


def measured(count):
    return {
        f"set_{place}": {"role": "ood", "n": 540, **{number: value + place / 100 for number, value in pairs}}
        for place in range(count)
        for pairs in [list(zip(NUMBERS, VALUES, strict=True))]
    }


def changed(sets, groups=3):
    return [
        AccuracyChange(f"beta={group}", 1, name, "forgetting", 0.9, (place + group) / 100)
        for group in range(groups)
        for place, name in enumerate(sets)
    ]


def shown(table, width=100):
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


def test_every_number_has_names():
    assert tuple(NAMES) == NUMBERS


def test_the_table_says_which_reading_each_silhouette_is():
    sets = measured(2)
    sets["set_1"]["silhouette_by_class"] = None
    text = shown(difficulty_table("title", sets), width=80)
    rows = [line.split() for line in text.splitlines()]
    assert ["set_0", "ood", "540", "90.5", "0.125", "0.000", "0.600", "0.250"] in rows
    assert next(line for line in text.splitlines() if "set_1" in line).count("–") == 1
    note = " ".join(text.split())
    assert "as it is most likely meant; high: wide gap, harder" in note
    assert "its other reading; high: classes well apart, easier" in note


def test_tables_are_at_most_a_hundred_columns_wide_and_cut_nothing():
    sets = {"a_set_with_a_long_name-test": next(iter(measured(1).values()))}
    for table in (difficulty_table("", sets), correlation_table("", correlations(sets, changed(sets)))):
        text = shown(table)
        assert max(map(len, text.splitlines())) <= 100
        assert "…" not in text


def test_the_table_of_correlations_says_that_points_depend_on_each_other():
    sets = measured(4)
    text = shown(correlation_table("title", correlations(sets, changed(sets))), width=80)
    rows = [line.split() for line in text.splitlines()]
    assert ["forgetting", "IIMM", "high", "+0.81", "0.001", "12", "4"] in rows
    assert ["gain", "ACS", "low", "–", "–", "0", "0"] in rows
    assert "are not independent: p is too small" in " ".join(text.split())


@pytest.mark.parametrize("count", [1, 12])
def test_panels_for_each_measure_and_markers_for_each_set(count):
    sets = measured(count)
    results = correlations(sets, changed(sets))["forgetting"]
    figure = scatter(sets, changed(sets), "forgetting", results, "$x_")
    panels = figure.axes[: len(NUMBERS)]
    assert [axes.get_xlabel() for axes in panels] == [name.axis for name in NAMES.values()]
    assert panels[0].get_ylabel() == "forgetting (points of accuracy)"
    accuracy = panels[0].collections[0].get_offsets().data
    assert accuracy.tolist() == [pytest.approx([90.5, group]) for group in range(3)]
    assert len(panels[0].collections) == count
    assert f"n = {3 * count}" in panels[-1].get_title()
    figure.draw_without_rendering()
