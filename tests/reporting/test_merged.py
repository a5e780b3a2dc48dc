import csv
import math

import matplotlib.image
import pytest
from rich.console import Console

from tracer_lightning.reporting.merged import (
    by_role,
    main_metrics,
    merged_table,
    ratio_summary,
    ratio_table,
    tensor_kind,
    trade_off_figure,
    write_ratios,
    write_scores,
)
from tracer_lightning.reporting.style import save
from tracer_lightning.scores import CLASSIFICATION, Metric


def scores(own, *others):
    """Results of one ID set and several OOD sets."""
    sets = {"own": ("id", own), **{f"set {number}": ("ood", value) for number, value in enumerate(others)}}
    metrics = {
        name: {"accuracy": value, "accuracy_top5": 1.0, "ece": value / 10, "macro_f1": value / 2}
        for name, (_, value) in sets.items()
    }
    results = {name: {"split": "test", "role": sets[name][0], "n": 10, **values} for name, values in metrics.items()}
    return results | {"avg_ood": {"sets": [], **metrics["own"]}}


RESULTS = {"0": scores(0.5, 0.9, 0.7), "0.5": scores(0.7, 0.75, 0.65), "1": scores(0.8, 0.6, 0.4)}
ACCURACY, _, MACRO_F1, *_ = CLASSIFICATION
MARKS = {"0": "before fine-tuning", "1": "fine-tuned"}


def test_means_are_over_the_sets_of_a_role():
    assert by_role(RESULTS["0"], "accuracy") == pytest.approx({"id": 0.5, "ood": 0.8})
    assert by_role(scores(0.5), "macro_f1") == {"id": 0.25}


def printed(table):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_table_is_in_percent():
    text = printed(merged_table("wise_ft: mine", "alpha", RESULTS, CLASSIFICATION, "accuracy"))
    assert text.split("\n")[2].split() == ["alpha", "ID", "accuracy", "ID", "ECE", "OOD", "accuracy", "OOD", "ECE"]
    assert ["0", "50.0", "5.0", "80.0", "8.0"] in [line.split() for line in text.split("\n")]
    text = printed(merged_table("x", "alpha", {"[0]": scores(0.5)}, CLASSIFICATION, "macro_f1"))
    assert "OOD" not in text
    assert ["[0]", "25.0", "5.0"] in [line.split() for line in text.split("\n")]


def test_a_mean_that_is_no_number_is_a_dash():
    diverged = scores(0.5, 0.9)
    diverged["own"]["ece"] = math.nan
    text = printed(merged_table("x", "alpha", {"0": diverged}, CLASSIFICATION, "accuracy"))
    assert ["0", "50.0", "–", "90.0", "9.0"] in [line.split() for line in text.split("\n")]


def test_the_table_has_the_mean_over_other_sets():
    birds = {
        "split": "test",
        "role": "other",
        "n": 5,
        "accuracy": 0.3,
        "accuracy_top5": 1.0,
        "ece": 0.2,
        "macro_f1": 0.1,
    }
    results = {alpha: {**sets, "birds": birds} for alpha, sets in RESULTS.items()}
    text = printed(merged_table("x", "alpha", results, CLASSIFICATION, "accuracy"))
    assert text.split("\n")[2].split()[-4:] == ["other", "accuracy", "other", "ECE"]
    assert ["0", "50.0", "5.0", "80.0", "8.0", "30.0", "20.0"] in [line.split() for line in text.split("\n")]
    (axes,) = trade_off_figure(results, ("id", ACCURACY), ("ood", ACCURACY), MARKS, curve="WiSE-FT").axes
    assert list(axes.lines[0].get_ydata()) == pytest.approx([80, 70, 50])


def test_every_set_is_in_the_csv(tmp_path):
    write_scores(tmp_path / "x.csv", "alpha", RESULTS, CLASSIFICATION)
    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert (rows[1]["alpha"], rows[1]["data_set"], rows[1]["role"], float(rows[1]["accuracy"])) == (
        "0",
        "set 0",
        "ood",
        0.9,
    )
    assert rows[3]["role"] == ""
    assert list(rows[0])[5:] == ["accuracy", "accuracy_top5", "ece", "macro_f1"]


def test_metrics_of_a_suite_are_shown_in_their_own_unit(tmp_path):
    rmse = Metric("rmse", "RMSE", "RMSE", better="lower", percent=False)
    results = {
        alpha: {
            "near": {"split": "test", "role": "id", "n": 5, "rmse": value},
            "far": {"split": "test", "role": "ood", "n": 5, "rmse": 2 * value},
        }
        for alpha, value in (("0", 12.3456), ("1", 0.25))
    }
    assert main_metrics([rmse], "rmse") == [rmse]
    text = printed(merged_table("x", "alpha", results, [rmse], "rmse"))
    assert text.split("\n")[2].split() == ["alpha", "ID", "RMSE", "OOD", "RMSE"]
    assert ["0", "12.35", "24.69"] in [line.split() for line in text.split("\n")]
    assert "percent" not in text
    (axes,) = trade_off_figure(results, ("id", rmse), ("ood", rmse), MARKS, curve="WiSE-FT").axes
    assert list(axes.lines[0].get_xdata()) == [12.3456, 0.25]
    assert axes.get_xlabel() == "ID RMSE"
    write_scores(tmp_path / "x.csv", "alpha", results, [rmse])
    assert (tmp_path / "x.csv").read_text().splitlines()[1] == "0,near,test,id,5,12.3456"


@pytest.mark.parametrize(
    ("primary", "expected"),
    [("accuracy", ["accuracy", "ece"]), ("macro_f1", ["macro_f1", "ece"]), ("ece", ["ece", "accuracy"])],
)
def test_a_score_is_shown_beside_an_error(primary, expected):
    assert [metric.name for metric in main_metrics(CLASSIFICATION, primary)] == expected


def test_the_figure_has_a_point_for_each_model(tmp_path):
    (axes,) = trade_off_figure(RESULTS, ("id", ACCURACY), ("ood", ACCURACY), MARKS, curve="WiSE-FT").axes
    line, *points = axes.lines
    assert list(line.get_xdata()) == pytest.approx([50, 70, 80])
    assert list(line.get_ydata()) == pytest.approx([80, 70, 50])
    assert [point.get_label() for point in points][::2] == ["before fine-tuning", "fine-tuned"]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "0.5"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "WiSE-FT, by alpha",
        "before fine-tuning",
        "fine-tuned",
    ]
    first, second = (
        save(trade_off_figure(RESULTS, ("id", ACCURACY), ("ood", ACCURACY), MARKS, "WiSE-FT"), tmp_path / f"{n}.png")
        for n in (1, 2)
    )
    assert first.read_bytes() == second.read_bytes()
    assert matplotlib.image.imread(first).shape[2] == 4


def test_names_that_would_cover_others_are_left_out():
    crowded = RESULTS | {"0.51": scores(0.7001, 0.75, 0.65)}
    (axes,) = trade_off_figure(crowded, ("id", ACCURACY), ("ood", ACCURACY), MARKS, curve="WiSE-FT").axes
    assert [text.get_text() for text in axes.texts] == ["0", "1", "0.5"]


def test_single_models_are_in_the_legend_once():
    marks = {"0": "before fine-tuning", "0.5": "fine-tuned", "1": "fine-tuned"}
    (axes,) = trade_off_figure(RESULTS, ("id", MACRO_F1), ("ood", MACRO_F1), marks, curve=None).axes
    assert len(axes.lines) == 3
    assert not axes.texts
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before fine-tuning", "fine-tuned"]
    assert axes.get_xlabel() == "ID macro-F1 (%)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("visual.transformer.resblocks.11.attn.in_proj_weight", "visual.transformer.resblocks.*.attn"),
        ("transformer.resblocks.0.ln_1.bias", "transformer.resblocks.*.ln_1"),
        ("visual.layer1.0.downsample.0.weight", "visual.layer1.*.downsample"),
        ("visual.conv1.weight", "visual.conv1.weight"),
        ("logit_scale", "logit_scale"),
    ],
)
def test_blocks_are_of_a_kind(name, expected):
    assert tensor_kind(name) == expected


def test_ratios_are_summed_up(tmp_path):
    ratios = {"b.0.attn.w": (0.1, 0.2), "b.1.attn.w": (0.5, 0.6), "b.1.attn.b": (0.5, 0.7), "proj": (0.9, 1.0)}
    summary = ratio_summary(ratios)
    assert summary["all"] == {"tensors": 4, "min": 0.2, "median": pytest.approx(0.65), "max": 1.0}
    assert summary["b.*.attn"] == {"tensors": 3, "min": 0.2, "median": 0.6, "max": 0.7}
    assert list(summary) == ["all", "b.*.attn", "proj"]
    assert ["b.*.attn", "3", "0.20", "0.60", "0.70"] in [
        line.split() for line in printed(ratio_table(summary)).split("\n")
    ]
    write_ratios(tmp_path / "x.csv", ratios, dict.fromkeys(ratios, 3))
    assert (tmp_path / "x.csv").read_text().splitlines()[:2] == ["tensor,elements,cosine,ratio", "b.0.attn.w,3,0.1,0.2"]


def test_sets_without_scores_are_in_no_mean():
    nothing = dict.fromkeys(RESULTS["0"]["set 0"])
    assert by_role({**RESULTS["0"], "set 1": {**nothing, "role": "ood", "n": 0}}, "accuracy") == {"id": 0.5, "ood": 0.9}
    assert by_role({"own": RESULTS["0"]["own"], "set 0": {**nothing, "role": "ood"}}, "ece") == {"id": 0.05}
