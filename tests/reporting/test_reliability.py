"""Figures of results."""

import math

import numpy as np
import pytest
from matplotlib.figure import Figure

from tracer_lightning.reporting.bins import bin_statistics, binned_ece
from tracer_lightning.reporting.reliability import reliability_figure
from tracer_lightning.reporting.training_curves import read_curves

BINS = {
    "n": [0, 0, 4, 0, 0, 10, 0, 0, 0, 20, 6],
    "correct": [0, 0, 3, 0, 0, 5, 0, 0, 0, 18, 6],
    "confidence": [0, 0, 1, 0, 0, 5.5, 0, 0, 0, 19, 6],
}


def test_ece_of_bins():
    assert binned_ece(BINS) == pytest.approx((2 + 0.5 + 1) / 40)
    assert math.isnan(binned_ece({name: [0] * 11 for name in BINS}))


def test_confidence_of_one_is_drawn_in_the_last_bin():
    n, accuracy, confidence = bin_statistics(BINS)
    assert n.tolist() == [0, 0, 4, 0, 0, 10, 0, 0, 0, 26]
    assert (accuracy[9], confidence[9]) == pytest.approx((24 / 26, 25 / 26))
    assert BINS["n"][9] == 20


def test_bars_end_at_accuracy_and_confidence():
    figure = reliability_figure({"a set": BINS}, "")
    diagram, histogram = figure.axes
    ends = [(round(bar.get_y() + bar.get_height(), 6), bar.get_alpha()) for bar in diagram.patches]
    assert ends == [
        (0.25, 0.35),
        (0.75, 0.35),
        (0.5, 1),
        (0.55, 1),
        (0.923077, 1),
        (0.961538, 1),
    ]
    assert diagram.get_title() == "a set\nECE 8.8 %"
    assert sum(bar.get_height() for bar in histogram.patches) == pytest.approx(1)


@pytest.mark.parametrize("sets", [0, 1, 5])
def test_a_panel_for_every_set(sets):
    figure = reliability_figure({f"set {number}": BINS for number in range(sets)}, "Student")
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 2 * sets


def test_odd_names_and_numbers_are_drawn():
    broken = {name: [np.nan] * 11 for name in BINS}
    empty = {name: [0] * 11 for name in BINS}
    figure = reliability_figure({"$\\frac": BINS, "<b>&": broken, "": empty}, "$x_")
    figure.draw_without_rendering()
    assert "ECE nan %" in figure.axes[2].get_title()


def test_non_numeric_values_are_left_out_of_curves(tmp_path):
    path = tmp_path / "metrics.csv"
    assert read_curves(path) == {}
    path.write_text("epoch,step,loss,lr\n0,1,2.5,\n,2,,0.1\n0,3,nan,\n0,4,inf,\n0,5,0.5,\n")
    curves = read_curves(path)
    assert curves["loss"] == ([1, 5], [2.5, 0.5], 2)
    assert curves["lr"] == ([2], [0.1], 0)
