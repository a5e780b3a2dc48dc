import matplotlib.image
import numpy as np
import pytest

from tests.reporting.run_folders import imagenet_run, scores, write_run
from tests.reporting.test_comparison import comparison
from tracer_lightning.reporting.ablation_curves import draw
from tracer_lightning.reporting.style import save, style


def lines(axes):
    """Labelled lines, as (x, y) lists by name."""
    series = {}
    for container in axes.containers:
        series[container.get_label()] = container.lines[0]
    series |= {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    return {name: (list(map(float, line.get_xdata())), list(line.get_ydata())) for name, line in series.items()}


@pytest.fixture
def betas(tmp_path):
    for number, (beta, accuracy) in enumerate([(0.7, 0.8), (0.2, 0.9)]):
        for seed in (0, 1):
            folder = tmp_path / f"{number}-{seed}"
            write_run(folder, scores(accuracy + seed / 50, 0.6), scores(0.7, 0.6), beta=beta, seed=seed)
    return tmp_path


def test_means_with_deviations(betas):
    accuracy, ece, ood, _ = draw(comparison(betas, "all")).axes
    series = lines(accuracy)
    assert series["student"] == ([0.2, 0.7], pytest.approx([91, 81]))
    assert series["teacher"] == ([0.2, 0.7], pytest.approx([70, 70]))
    assert series["zero-shot"][1] == [50, 50]
    bars = accuracy.containers[0].lines[2][0].get_segments()
    assert [segment[1][1] - segment[0][1] for segment in bars] == pytest.approx([2 * 2**0.5] * 2)
    assert lines(ece)["student"][1] == pytest.approx([5, 5])
    assert lines(ood)["student"][1] == pytest.approx([60, 60])
    assert [axes.get_title() for axes in (accuracy, ood)] == ["mine (zero-shot: 50.0)", "avg_ood (zero-shot: 40.0)"]
    assert accuracy.get_ylim()[0] < 50
    assert accuracy.get_xscale() == "linear"
    assert "published" not in series


def test_files(betas, tmp_path):
    with style():
        figure = draw(comparison(betas))
        png, svg = save(figure, tmp_path / "curves.png"), save(figure, tmp_path / "curves.svg")
    assert np.std(matplotlib.image.imread(png)[..., :3]) > 0.05
    assert "kernel.beta" in svg.read_text()


def test_published_curves_beside(tmp_path):
    for interval in (1, 10):
        imagenet_run(tmp_path / str(interval), 0.83, 0.64, every=interval)
    accuracy, ece, *_ = draw(comparison(tmp_path)).axes
    x, y = lines(accuracy)["published"]
    assert x == [1, 2, 5, 10, 50, 100, 500, 1000, 2500]
    assert y[6] == pytest.approx(82.13)
    assert accuracy.get_xscale() == "log"
    assert accuracy.get_ylim()[0] > 80  # far above the line of the zero-shot model, 68
    assert "published (ECE per batch)" in lines(ece)
    assert "clock counts updates" in " ".join(accuracy.figure.get_supxlabel().split())


def test_sets_of_terms_are_points(tmp_path):
    for number, terms in enumerate([["fd", "crd"], [], ["icl"]]):
        write_run(tmp_path / str(number), scores(0.8 + number / 20, 0.6), terms=terms)
    axes = draw(comparison(tmp_path)).axes
    assert lines(axes[0])["student"] == ([0, 1, 2], pytest.approx([85, 90, 80]))
    assert axes[0].containers[0].lines[0].get_linestyle() == "None"
    assert [tick.get_text() for tick in axes[2].get_xticklabels()] == ["none", "icl", "fd+crd"]


def test_undrawable_comparisons_raise_errors(betas):
    with pytest.raises(ValueError, match=r"choose another model"):
        draw(comparison(betas, "zero_shot"))
    write_run(betas / "flyp", scores(0.9, 0.8), method="flyp", beta=0.7)
    with pytest.raises(ValueError, match=r"exactly one setting varies; here vary: method, kernel.beta"):
        draw(comparison(betas))


def test_names_cannot_be_drawn_as_an_axis(tmp_path):
    for method in ("flyp", "tracer"):
        write_run(tmp_path / method, scores(0.9, 0.8), method=method)
    with pytest.raises(ValueError, match=r"here varies method"):
        draw(comparison(tmp_path))
