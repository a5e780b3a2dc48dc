import csv
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from tests.reporting.run_folders import config, scores, set_scores, write_run
from tracer_lightning.reporting.formats import terminal
from tracer_lightning.reporting.frontier import (
    best_at,
    frontiers,
    grid_sets,
    hypervolume,
    id_levels,
    on_front,
    picked_by_validation,
)
from tracer_lightning.reporting.frontier_bootstrap import Bootstrap, draw_seeds, resample_sets
from tracer_lightning.reporting.frontier_figure import draw_frontiers
from tracer_lightning.reporting.frontier_tables import frontier_csv, frontier_sections
from tracer_lightning.reporting.merges import find_interpolations
from tracer_lightning.reporting.runs import find_runs, group_runs
from tracer_lightning.reporting.settings import settings_of
from tracer_lightning.reporting.style import SERIES_COLOURS, save, style

RATES = (1e-4, 1e-3, 1e-2)
FLYP = ((0.6, 0.38), (0.8, 0.3), (0.75, 0.2))
TRACER = ((0.6, 0.4), (0.7, 0.42), (0.78, 0.36))
FLYP_CONFIG = {"method": "flyp", "terms": (), "teacher": "No"}


def with_others(results, accuracy):
    """Results with a set of what the model knew before."""
    return {
        **results,
        "birds": set_scores(accuracy, role="other"),
        "avg_other": {"sets": ["birds"], "accuracy": accuracy},
    }


def write_series(folder, accuracies, seeds=(0,), validation=None, **settings):
    """Runs of one method at all rates."""
    for number, (rate, (own, ood)) in enumerate(zip(RATES, accuracies, strict=True)):
        for seed in seeds:
            run = write_run(
                folder / f"{rate}-{seed}", scores(own, ood), seed=seed, **{"optimizer.lr": rate, **settings}
            )
            if validation:
                results = json.loads((run / "results.json").read_text())
                results |= {"validation": {"mine": {"accuracy": validation[number]}}, "validation_is_test_set": False}
                (run / "results.json").write_text(json.dumps(results))


def write_merge(folder, curve, seed=0, model="student", merge="wise_ft", run_folder=None, options=(), **settings):
    """What a merge of a run writes: scores by alpha."""
    folder.mkdir(parents=True)
    recorded = settings_of(config(run_folder or folder, seed=seed, **settings))
    run = {"folder": str(folder), "name": "digits", "seed": seed, "settings": recorded}
    content = {"merge": merge, "model": model, "runs": [run], "seconds": 1.0, **dict(options)}
    content["scores"] = {alpha: scores(own, ood) for alpha, (own, ood) in curve.items()}
    (folder / "merge.json").write_text(json.dumps(content))


@pytest.fixture
def two(tmp_path):
    """Two methods at three rates, with one seed."""
    write_series(tmp_path / "flyp", FLYP, **FLYP_CONFIG)
    write_series(tmp_path / "tracer", TRACER)
    return tmp_path


def read(*folders, model="student"):
    patterns = [str(folder) for folder in folders]
    return frontiers(group_runs(find_runs(patterns)[0])[0], find_interpolations(patterns)[0], model)


def by_label(trade_offs):
    return {series.label: series for series in trade_offs.series}


def test_a_front_by_hand():
    """The second dominates the third, the first two are equal in one coordinate, and equal points keep each other."""
    x, y = np.array([1.0, 2.0, 1.5, 2.0, 0.5, 0.5]), np.array([3.0, 2.0, 1.9, 1.0, 4.0, 4.0])
    assert on_front(x, y).tolist() == [True, True, False, False, True, True]


def test_an_area_by_hand():
    """Above (1, 1), 2 x 1 of the first and 1 x 2 of the second overlap in 1 x 1; the others are not above it.

    Moved to the right by 1, the first two have 3 x 1 and 2 x 2 with an overlap of 2 x 1, and the third, 0.5 x 8, adds
    0.5 x 6.
    """
    x, y = np.array([3.0, 2.0, 0.5, 5.0]), np.array([2.0, 3.0, 9.0, 1.0])
    assert hypervolume(x, y, (1.0, 1.0)) == pytest.approx(3.0)
    batch = hypervolume(np.stack([x, x + 1.0]), np.stack([y, y]), (1.0, 1.0))
    assert batch == pytest.approx([3.0, 3.0 + 4.0 - 2.0 + 3.0])
    assert hypervolume(np.array([0.5]), np.array([0.5]), (1.0, 1.0)) == 0.0


def test_series_of_the_runs(two):
    trade_offs = read(two)
    series = by_label(trade_offs)
    assert set(series) == {"flyp", "tracer"}
    assert [point.label for point in series["flyp"].points] == ["lr 0.0001", "lr 0.001", "lr 0.01"]
    assert [point.label for point in series["flyp"].front("ood")] == ["lr 0.0001", "lr 0.001"]
    assert [point.label for point in series["tracer"].front("ood")] == ["lr 0.001", "lr 0.01"]
    assert trade_offs.starts == [{"id": pytest.approx(0.5), "ood": pytest.approx(0.4)}]
    assert trade_offs.reference("ood") == pytest.approx((0.5, 0.2))
    flyp, tracer = Bootstrap(trade_offs, 10).areas("ood")
    assert flyp.value == pytest.approx(0.1 * 0.18 + 0.2 * 0.1)
    assert tracer.value == pytest.approx(0.2 * 0.22 + 0.08 * 0.16)


def test_a_front_ignores_rounding():
    assert on_front(np.array([0.1 + 0.2, 0.3]), np.array([0.5, 0.6])).tolist() == [False, True]


def test_models_that_training_did_not_change_are_left_out(two):
    for rate in RATES:
        frozen = scores(0.5, 0.4)
        write_run(two / f"static/{rate}", scores(0.6, 0.4), after=frozen, beta=0.9, **{"optimizer.lr": rate})
    trade_offs = read(two, model="all")
    assert "tracer, kernel.beta=0.9" in by_label(trade_offs)
    assert trade_offs.unchanged == ["tracer, kernel.beta=0.9 (teacher)"]
    assert any("kernel.beta=0.9 (teacher)" in note for note in frontier_sections(trade_offs)[0].notes)
    with pytest.raises(ValueError, match="all of these score like the model before training"):
        read(two / "static", model="teacher")


def test_strength_is_a_dose_and_other_settings_are_series(two):
    write_series(two / "weaker", TRACER, strength=0.1)
    write_series(two / "kernel", TRACER, beta=0.2)
    series = by_label(read(two))
    assert set(series) == {"flyp", "tracer, kernel.beta=0.5", "tracer, kernel.beta=0.2"}
    assert len(series["tracer, kernel.beta=0.5"].points) == 6
    assert series["tracer, kernel.beta=0.5"].points[0].label == "lr 0.0001, strength 0.1"


def test_series_are_named_by_method_peft_and_parts_that_are_trained(tmp_path):
    for number, (peft, parts) in enumerate((("none", ["text"]), ("lora", ["text"]), ("none", ["image"]))):
        for rate in RATES:
            settings = {"peft.name": peft, "method.train": parts, "method": "sft", "optimizer.lr": rate}
            write_run(tmp_path / f"{number}-{rate}", scores(0.6, 0.4), **settings)
    labels = {"method.train=[text]", "peft=lora, method.train=[text]", "method.train=[image]"}
    assert set(by_label(read(tmp_path))) == labels
    for rate in RATES:
        write_run(tmp_path / f"ft-{rate}", scores(0.6, 0.4), method="ft", **{"optimizer.lr": rate})
    assert set(by_label(read(tmp_path))) == {"ft", *(f"sft, {name}" for name in labels)}


def test_points_are_means_over_seeds_and_teachers_are_series(two):
    for seed, shift in ((1, 0.1), (2, 0.2)):
        student, teacher = scores(0.6 + shift, 0.4), scores(0.5 + shift, 0.45)
        write_run(two / f"more/{seed}", student, after=teacher, seed=seed, **{"optimizer.lr": 0.5})
        write_run(two / f"third/{seed}", student, after=teacher, seed=seed, **{"optimizer.lr": 0.7})
    series = by_label(read(two, model="all"))
    assert set(series) == {"flyp", "tracer", "tracer (teacher)"}
    assert [point.seeds for point in series["tracer (teacher)"].points] == [(1, 2), (1, 2)]
    assert series["tracer (teacher)"].points[0].mean("id") == pytest.approx(0.65)
    assert series["tracer"].points[-1].mean("id") == pytest.approx(0.75)


def test_merges_are_points_by_rate_and_alpha(two):
    for rate in RATES[:2]:
        for seed in (0, 1):
            curve = {"0": (0.5, 0.4), "0.5": (0.6 + rate + seed / 50, 0.39), "1": (0.6, 0.38)}
            settings = {"optimizer.lr": rate, **FLYP_CONFIG}
            write_merge(two / f"merges/{rate}-{seed}", curve, seed, run_folder=two / "flyp/0.0001-0", **settings)
    series = by_label(read(two, two / "merges"))
    assert set(series) == {"flyp", "tracer", "flyp + WiSE-FT"}
    merged = series["flyp + WiSE-FT"]
    assert [(point.label, point.seeds) for point in merged.points][:3] == [
        ("lr 0.0001, alpha 0", (0, 1)),
        ("lr 0.0001, alpha 0.5", (0, 1)),
        ("lr 0.0001, alpha 1", (0, 1)),
    ]
    assert merged.points[4].mean("id") == pytest.approx(0.6 + RATES[1] + 0.01)


def test_settings_that_a_merge_recorded_before_they_were_ignored_make_no_series(two):
    curve = {"0": (0.5, 0.4), "1": (0.6, 0.38)}
    write_merge(two / "merges", curve, run_folder=two / "flyp/0.0001-0", **{"optimizer.lr": RATES[0], **FLYP_CONFIG})
    content = json.loads((two / "merges/merge.json").read_text())
    content["runs"][0]["settings"]["data.in_memory"] = "auto"
    (two / "merges/merge.json").write_text(json.dumps(content))
    assert set(by_label(read(two, two / "merges"))) == {"flyp", "tracer", "flyp + WiSE-FT"}


def test_merges_with_other_options_are_series_of_their_own(two):
    curve = {alpha: (0.6 + float(alpha) / 10, 0.38) for alpha in ("0", "0.5", "1")}
    shared = {"run_folder": two / "flyp/0.0001-0", "optimizer.lr": RATES[0], **FLYP_CONFIG}
    write_merge(two / "merges/own", curve, options={"head": "interpolate"}, **shared)
    write_merge(two / "merges/other", curve, options={"head": "interpolate", "other_start": "mine.pt"}, **shared)
    series = by_label(read(two, two / "merges"))
    assert {"flyp + WiSE-FT", "flyp + WiSE-FT (other_start mine.pt)"} <= set(series)
    assert len(series["flyp + WiSE-FT"].points) == 3


@pytest.mark.parametrize("alpha", ["1.5", "nan", "half"])
def test_alphas_are_numbers_from_0_to_1(two, alpha):
    write_merge(two / "merges", {alpha: (0.6, 0.4)})
    merges, warnings = find_interpolations([str(two)])
    assert not merges
    assert f"alpha {alpha!r} is not a number in [0, 1]; left out" in warnings[0]


def test_merges_that_cannot_be_used_are_named(two):
    write_merge(two / "stock", {"mean": (0.5, 0.4)}, merge="model_stock")
    (two / "old").mkdir()
    (two / "old/merge.json").write_text(json.dumps({"merge": "wise_ft", "model": "student", "scores": {}}))
    interpolations, warnings = find_interpolations([str(two)])
    assert not interpolations
    assert len(warnings) == 2
    assert "old/merge.json does not say which run was merged" in warnings[0]
    assert "model_stock is no interpolation (wise_ft, fisher); left out" in warnings[1]
    assert find_runs([str(two)])[1] == []


def test_levels_and_the_best_settings_there(two):
    """The best ID means are 0.8 and 0.78; the lowest is reached by both, and half of two is one."""
    trade_offs = read(two)
    series = by_label(trade_offs)
    assert id_levels(trade_offs.series) == pytest.approx([0.78, 0.8])
    assert best_at(series["tracer"], 0.78, "ood").label == "lr 0.01"
    assert best_at(series["tracer"], 0.8, "ood") is None
    assert best_at(series["flyp"], 0.8, "ood").label == "lr 0.001"
    assert best_at(series["flyp"], 0.755, "ood").label == "lr 0.001"
    assert best_at(series["tracer"], 0.7049, "ood").label == "lr 0.001"
    assert best_at(series["tracer"], 0.7051, "ood").label == "lr 0.01"
    write_series(two / "third", ((0.6, 0.3), (0.65, 0.3), (0.66, 0.3)), beta=0.9)
    assert id_levels(read(two).series) == pytest.approx([0.66, 0.78])


def test_levels_that_are_close_are_one(tmp_path):
    for number, best in enumerate((0.9834, 0.9831, 0.9829)):
        accuracies = ((0.6, 0.4), (0.7, 0.3), (best, 0.2))
        write_series(tmp_path / str(number), accuracies, **{"kernel.beta": 0.1 + number})
    assert id_levels(read(tmp_path).series) == pytest.approx([0.9829])


def test_series_have_the_seeds_that_have_a_teacher(two):
    for seed, after in ((1, scores(0.5, 0.45)), (2, None)):
        write_run(two / f"more/{seed}", scores(0.6, 0.4), after=after, seed=seed, **{"optimizer.lr": 0.5})
    series = by_label(read(two, model="all"))
    assert [point.seeds for point in series["tracer (teacher)"].points] == [(1,)]
    assert series["tracer"].points[-1].seeds == (1, 2)


def test_validation_picks_a_setting_of_its_own(two):
    write_series(two / "validated", TRACER, validation=(0.5, 0.9, 0.8), beta=0.9)
    series = by_label(read(two))
    assert picked_by_validation(series["tracer, kernel.beta=0.9"]).label == "lr 0.001"
    assert picked_by_validation(series["flyp"]) is None
    sections = frontier_sections(read(two))
    assert len(sections) == 3
    assert sections[-1].tables[0].rows == [("tracer, kernel.beta=0.9", "1")]
    assert ": flyp" in sections[-1].notes[-1]


def test_a_calibration_error_that_is_not_known_is_none(two):
    path = two / "tracer/0.001-0/results.json"
    content = json.loads(path.read_text())
    content["student"]["mine"]["ece"] = None
    path.write_text(json.dumps(content))
    points = by_label(read(two))["tracer"].points
    assert [math.isnan(point.eces["id"]) for point in points] == ["lr 0.001" in point.label for point in points]


def test_scores_of_a_test_set_pick_nothing(two):
    path = two / "tracer/0.001-0/results.json"
    validation = {"validation": {"mine": {"accuracy": 0.9}}}
    for unusable in ({}, {"validation_is_test_set": True}):
        path.write_text(json.dumps({**json.loads(path.read_text()), **validation, **unusable}))
        assert picked_by_validation(by_label(read(two))["tracer"]) is None


def brute_force(accuracies, size, draws, generator):
    """Means of two models, with single seeds and samples drawn: of the better one, each sample that the other has."""
    replicates = []
    for numbers in draws:
        drawn = [np.mean([values[int(number * len(values))] for number in numbers]) for values in accuracies]
        difficulty = generator.random(size)
        replicates.append([np.mean([value < accuracy for value in difficulty]) for accuracy in drawn])
    return np.array(replicates)


def test_the_bootstrap_is_that_of_a_loop_over_seeds_and_samples():
    accuracies = [np.array([[0.7], [0.9]]), np.array([[0.8], [0.85]])]
    generator = np.random.default_rng(0)
    draws = generator.random((20000, 2))
    drawn = np.stack([draw_seeds(values, draws) for values in accuracies], axis=-1)
    fast = resample_sets(drawn, np.array([30]), generator)[:, 0]
    slow = brute_force([values[:, 0] for values in accuracies], 30, draws[:4000], generator)
    assert fast.mean(axis=0) == pytest.approx([0.8, 0.825], abs=0.003)
    assert np.cov(fast.T) == pytest.approx(np.cov(slow.T), rel=0.1)
    assert np.quantile(fast, [0.025, 0.5, 0.975], axis=0) == pytest.approx(
        np.quantile(slow, [0.025, 0.5, 0.975], axis=0), abs=0.035
    )


def test_resampled_models_agree_as_far_as_they_can():
    generator = np.random.default_rng(0)
    probabilities = np.broadcast_to([0.9, 0.0, 0.9, 1.0, 0.95], (500, 1, 5))
    first, never, same, always, better = resample_sets(probabilities, np.array([200]), generator)[:, 0].T
    assert (first == same).all()
    assert (better >= first).all()
    assert (never == 0.0).all()
    assert (always == 1.0).all()
    assert first.var() == pytest.approx(0.9 * 0.1 / 200, rel=0.2)


def test_settings_with_the_same_seeds_draw_the_same_ones():
    draws = np.random.default_rng(0).random((200, 5))
    values = np.array([[0.1], [0.5], [0.7]])
    assert draw_seeds(values + 0.1, draws) == pytest.approx(draw_seeds(values, draws) + 0.1)
    assert (draw_seeds(values[:1], draws) == 0.1).all()


@pytest.mark.slow
def test_intervals_cover_the_true_mean_of_a_model():
    """Of 300 test sets of 400 samples, 95% have an interval that contains the accuracy; 0.013 is one standard error."""
    generator = np.random.default_rng(0)
    observed = generator.binomial(400, 0.8, size=(300, 1, 1)) / 400
    covered = []
    for value in observed:
        replicates = resample_sets(np.broadcast_to(value, (1000, 1, 1)), np.array([400]), generator)
        low, high = np.quantile(replicates, [0.025, 0.975])
        covered.append(low <= 0.8 <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)


def test_intervals_contain_the_estimate_and_repeat(two):
    trade_offs = read(two)
    first, second = (Bootstrap(trade_offs).areas("ood") for _ in range(2))
    assert first == second
    for area in first:
        assert area.low < area.value < area.high
    point = trade_offs.series[0].points[0]
    estimate = Bootstrap(trade_offs).mean(point, "id")
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * (0.6 * 0.4 / 100) ** 0.5, rel=0.1)


def printed(sections):
    console = Console(width=120)
    with console.capture() as capture:
        for section in sections:
            for table in section.tables:
                for part in terminal(console, table):
                    console.print(part)
    return capture.get()


def test_tables(two):
    trade_offs = read(two)
    sections = frontier_sections(trade_offs)
    text = printed(sections)
    rows = [line.split() for line in text.splitlines()]
    areas = next(row for row in rows if row[:1] == ["flyp"])
    assert areas[:5] == ["flyp", "1", "3", "2", "380.0"]
    level = [row for row in rows if row[:1] == ["tracer"]][1]
    assert level[:3] == ["tracer", "1", "36.0"]
    assert level[-2:] == ["–", "–"]
    assert "at ID 78.0" in text
    assert "above ID 50.0, OOD 20.0 (" in sections[0].notes[0]
    assert any("picked on the test sets" in note for note in sections[1].notes)


def test_every_setting_is_in_the_csv(two):
    rows = list(csv.DictReader(io.StringIO(frontier_csv(read(two)))))
    assert len(rows) == 6
    assert rows[0] == {
        **{"series": "flyp", "model": "student", "optimizer.lr": "0.0001", "method.strength": "0.9"},
        **{"regularizers.l2_sp.weight": "", "alpha": ""},
        **{"n": "1", "seeds": "0", "id": "0.6", "ood": "0.38", "on_front_ood": "1", "validation": "", "ece_id": "0.05"},
    }


def test_other_sets_have_a_panel_and_columns(tmp_path):
    before = with_others(scores(0.5, 0.4), 0.9)
    for method, loss in (("flyp", 0.3), ("tracer", 0.1)):
        for rate in (1, 2):
            results = with_others(scores(0.5 + rate / 10, 0.4), 0.9 - rate * loss)
            settings = {"method": method, "optimizer.lr": rate / 1000}
            write_run(tmp_path / f"{method}{rate}", results, zero_shot=before, **settings)
    trade_offs = read(tmp_path)
    assert trade_offs.roles == ["ood", "other"]
    assert trade_offs.reference("other") == pytest.approx((0.5, 0.3))
    text = printed(frontier_sections(trade_offs))
    assert "ID and other" in text
    with style():
        panels = draw_frontiers(trade_offs, trade_offs.roles).axes
    assert [axes.get_ylabel() for axes in panels] == ["OOD accuracy (%)", "accuracy on other sets (%)"]
    assert "on_front_other" in frontier_csv(trade_offs)


GRID = {"id": ("id", "task", "open"), "ood": ("id", "task")}
"""Texts of the cells by image."""


def grid_scores(id_accuracy, others):
    """Scores of a model that answers questions, of one set in each cell, with its averages."""
    roles = {("id", "id"): "id", ("ood", "id"): "ood"}
    cells = [(image, text) for image, texts in GRID.items() for text in texts]
    accuracies = dict(zip(cells, (id_accuracy, *others), strict=True))
    sets = {f"{i}/{t}/kind": set_scores(accuracies[i, t], role=roles.get((i, t), "other")) for i, t in cells}
    averages = {f"image_{i}/text_{t}": {"sets": [f"{i}/{t}/kind"], "accuracy": accuracies[i, t]} for i, t in cells}
    return {**sets, **averages}


def write_grids(folder):
    """Two methods at two rates."""
    for method, loss in (("sft", 0.2), ("sft_wma", 0.1)):
        for rate in (1, 2):
            results = grid_scores(0.5 + rate / 10, [0.9 - rate * loss * cell for cell in (1, 1.5, 0.5, 2)])
            settings = {"method": method, "optimizer.lr": rate / 1000}
            write_run(folder / f"{method}{rate}", results, zero_shot=grid_scores(0.5, [0.9] * 4), **settings)


def test_the_cells_of_a_grid_and_general_are_compared(tmp_path):
    write_grids(tmp_path)
    trade_offs = read(tmp_path)
    assert trade_offs.roles == ["ood", "other"]
    cells = ["image_id/text_task", "image_id/text_open", "image_ood/text_id", "image_ood/text_task", "general"]
    assert trade_offs.cells == cells
    point = by_label(trade_offs)["sft"].points[1]
    assert [point.mean(cell) for cell in cells] == pytest.approx([0.5, 0.3, 0.7, 0.1, 0.1])
    *_, grid = frontier_sections(trade_offs)
    text = printed([grid])
    assert "cells of the grid at equal ID accuracy" in text
    for title in ("task on ID images", "ID text on OOD images", "general"):
        assert title in text
    rows = list(csv.DictReader(io.StringIO(frontier_csv(trade_offs))))
    assert float(rows[1]["image_id/text_open"]) == pytest.approx(0.3)
    assert rows[1]["on_front_general"] == "1"
    with style():
        labels = [axes.get_ylabel() for axes in draw_frontiers(trade_offs, cells).axes]
    assert labels[0] == "accuracy (%), task on ID images"
    assert labels[-1] == "accuracy (%), general"


def test_sets_of_general_questions_are_general(tmp_path):
    """As in a sequence of tasks, where the other sets with OOD images are those of other tasks."""
    scored = {**grid_scores(0.5, [0.9] * 4), "general/even": set_scores(0.8, role="other")}
    scored["image_ood/text_general"] = {"sets": ["general/even"], "accuracy": 0.8}
    groups = grid_sets(scored)
    assert groups["general"] == (("general/even", 100),)
    assert "image_ood/text_general" not in groups
    assert grid_sets(scores(0.5, 0.4)) == {}


def test_the_figure(two, tmp_path):
    trade_offs = read(two)
    with style():
        figure = draw_frontiers(trade_offs, trade_offs.roles)
        (axes,) = figure.axes
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["flyp", "tracer", "before training"]
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["flyp"].get_xdata() == pytest.approx([60.0, 80.0])
        assert lines["flyp"].get_ydata() == pytest.approx([38.0, 30.0])
        assert lines["before training"].get_xdata() == pytest.approx([50.0])
        first, second = (save(draw_frontiers(trade_offs, trade_offs.roles), tmp_path / f"{name}.png") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_twelve_series_have_twelve_colours(tmp_path):
    for beta in range(12):
        write_series(tmp_path / str(beta), TRACER, beta=0.1 + beta)
    with style():
        (axes,) = draw_frontiers(read(tmp_path), ["ood"]).axes
    colours = {line.get_color() for line in axes.lines if line.get_label().startswith("kernel")}
    assert colours == set(SERIES_COLOURS)


def test_one_series_is_refused(two):
    with pytest.raises(ValueError, match="compare several series, and all of these runs belong to tracer; add"):
        read(two / "tracer")


def test_one_dose_is_refused(two):
    with pytest.raises(ValueError, match=r"need series with several settings of optimizer\.lr or method\.strength"):
        read(two / "tracer/0.001-0", two / "flyp/0.001-0")


def test_runs_without_ood_sets_are_refused(tmp_path):
    own = {"mine": set_scores(0.5, role="id")}
    for method in ("flyp", "tracer"):
        write_run(tmp_path / method, own, zero_shot=own, method=method)
    with pytest.raises(
        ValueError, match=r"need accuracy or recall on sets of role ood or other; .*flyp has id: mine \(100\)"
    ):
        read(tmp_path)


def test_runs_on_different_sets_are_refused(two):
    write_run(two / "pacs", scores(0.5, 0.4, names=("photo", "sketch")), zero_shot=scores(0.5, 0.4))
    with pytest.raises(
        ValueError, match=r"tested on the same sets; .* id: mine \(100\); ood: other \(100\), and .*pacs"
    ):
        read(two)


def test_a_trained_model_is_needed(two):
    with pytest.raises(ValueError, match="model teacher: none of these runs has a trained one"):
        read(two, model="teacher")
