import csv
import io
import math

import numpy as np
import pytest

from tests.reporting.run_folders import scores, write_run
from tracer_lightning.reporting.dynamics import GAP, SHARE, WAY, as_csv, draw, read_dynamics, summarize
from tracer_lightning.reporting.runs import find_runs, group_runs


def write(folder, columns, steps=range(20), **settings):
    """A run with these curves, functions of the step; rows of losses stand between, as the logger writes them."""
    write_run(folder, scores(0.9, 0.8), **settings)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "train/loss/total", *columns])
        writer.writeheader()
        for step in steps:
            writer.writerow({"step": step, **{name: curve(step) for name, curve in columns.items()}})
            writer.writerow({"step": step, "train/loss/total": 1.0})
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one method, and one of another."""
    for seed in (0, 1):
        columns = {"teacher/kl": lambda step, seed=seed: 0.1 * step + seed, WAY: float, GAP: lambda step: step / 4}
        write(tmp_path / f"wma{seed}", columns, seed=seed)
    columns = {"teacher/kl": lambda step: 10.0**-step, "student/entropy": lambda step: 2.0}
    write(tmp_path / "ema", columns, method="tracer_ema", teacher="EMA")
    return tmp_path


def read(*folders):
    return read_dynamics(group_runs(find_runs(map(str, folders))[0])[0])


def test_groups_and_what_they_logged(runs):
    ema, wma = read(runs)
    assert (ema.label, wma.label) == ("method=tracer_ema", "method=tracer")
    assert (ema.seeds, wma.seeds) == ([0], [0, 1])
    assert list(ema.traces) == ["teacher/kl", "student/entropy"]
    assert list(wma.traces) == ["teacher/kl", WAY, GAP, SHARE]
    assert wma.traces["teacher/kl"].values[:, 3] == pytest.approx([0.3, 1.3])
    assert wma.traces[SHARE].steps == list(range(1, 20))  # at step 0 there is no way
    assert np.all(wma.traces[SHARE].values == 0.25)


def test_the_table_has_tenths_at_both_ends_and_in_the_middle(runs):
    table = {(row.statistic, row.label): row for row in summarize(read(runs))}
    row = table["teacher/kl", "method=tracer"]
    assert row.means == pytest.approx([0.05 + 0.5, 0.95 + 0.5, 1.85 + 0.5])  # steps 0 and 1; 9, 10; 18, 19
    assert row.stds == pytest.approx([math.sqrt(0.5)] * 3)
    assert table["student/entropy", "method=tracer_ema"].stds == [None] * 3
    lines = list(csv.DictReader(io.StringIO(as_csv([row]))))
    assert [float(lines[0][part]) for part in ("start", "middle", "end")] == row.means
    assert lines[0]["seeds"] == "2"


def test_seeds_are_compared_at_the_steps_they_share(tmp_path):
    for seed, steps in enumerate([range(0, 12, 2), range(0, 12, 3)]):
        write(tmp_path / str(seed), {"teacher/kl": float}, steps, seed=seed)
    (one,) = read(tmp_path)
    assert one.traces["teacher/kl"].steps == [0, 6]
    assert one.label == "method=tracer"


def test_panels(runs):
    figure = draw(read(runs))
    titles = [axes.get_title() for axes in figure.axes if axes.axison]
    assert titles == [
        "KL(teacher ‖ student)",
        "entropy",
        "way from the start",
        "gap between teacher and student",
        "gap as a share of the student's way",
    ]
    kl = figure.axes[0]
    ema, wma = kl.lines[:2]
    assert kl.get_yscale() == "log"
    assert np.isfinite(ema.get_ydata()).sum() == 7  # 1 to 1e-6; below is rounding
    assert wma.get_ydata()[3] == pytest.approx(0.8)
    assert len(kl.collections) == 1  # a band where there are seeds
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["method=tracer_ema", "method=tracer", "student; between both", "teacher"]


def test_statistics_of_many_batches_are_drawn_as_means_of_neighbours(tmp_path):
    columns = {"teacher/agreement": lambda step: step % 2, WAY: lambda step: step % 2}
    write(tmp_path / "run", columns, range(200))
    agreement, way = draw(read(tmp_path)).axes[:2]
    assert list(agreement.lines[0].get_xdata()) == [4 * number + 1.5 for number in range(50)]
    assert set(agreement.lines[0].get_ydata()) == {0.5}
    assert set(way.lines[0].get_ydata()) == {0, 1}


def test_runs_without_statistics_raise_an_error(tmp_path):
    write(tmp_path / "plain", {})
    with pytest.raises(ValueError, match=r"plain: no statistics in metrics.csv; train with"):
        read(tmp_path)
