"""Paths of embedders through stage 1."""

from types import SimpleNamespace

import numpy as np
import pytest

from tracer_lightning.reporting.alignment_paths import alignment_curves, draw_paths, read_paths

HEADER = "step,distance,labels,source_distance,distortion,entropy,bound,log_loss\n"


def write_log(folder, first):
    """Ten steps of a run without a distance that counts."""
    folder.mkdir()
    rows = [f"{step},nan,-1,{first - step / 10},{step / 20},1.5,2,{1.9 - step / 100}" for step in range(1, 11)]
    (folder / "alignment.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return SimpleNamespace(folder=folder)


def group(name, runs):
    return SimpleNamespace(settings={"align.name": name}, runs=runs)


def test_a_path_is_the_mean_over_seeds(tmp_path):
    first, second = (write_log(tmp_path / name, start) for name, start in (("a", 3.0), ("b", 5.0)))
    other, unaligned = write_log(tmp_path / "c", 2.0), SimpleNamespace(folder=tmp_path)
    groups = [group("fa", [first, second]), group("mi", [other]), group("none", [unaligned])]
    paths = read_paths(groups)
    assert [path.label for path in paths] == ["align.name=fa", "align.name=mi"]
    assert paths[0].values["source_distance"] == pytest.approx(4 - np.arange(1, 11) / 10)
    figure = draw_paths(paths)
    losses, plane = figure.axes
    assert len(losses.lines) == 4  # a loss and its bound each
    assert [line.get_marker() for line in plane.lines] == ["None", "o"] * 2
    assert plane.lines[1].get_xdata()[0] == pytest.approx(4 - 0.8)  # the mean of the last five steps


def test_curves_of_a_run_have_a_prefix(tmp_path):
    write_log(tmp_path / "a", 3.0)
    curves = alignment_curves(tmp_path / "a/alignment.csv")
    assert curves["align/bound"].values == [2.0] * 10
    assert curves["align/bound"].steps == list(range(1, 11))
    assert curves["align/distance"].values == []
    assert alignment_curves(tmp_path / "alignment.csv") == {}
