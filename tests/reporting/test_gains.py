import csv
import io

import pytest

from tests.reporting.run_folders import imagenet_run, scores, set_scores, write_run
from tests.reporting.test_comparison import comparison
from tracer_lightning.reporting.comparison import ResultKey, select_results
from tracer_lightning.reporting.formats import latex, markdown, raw
from tracer_lightning.reporting.gains import gains
from tracer_lightning.reporting.tables import sections

ALL_BUT_ID = "sketch photo"
NOTHING = {
    ResultKey("mine", "gain_id"): 0.0,
    ResultKey("other", "gain_ood"): 0.0,
    ResultKey("other", "forgetting"): 0.0,
}


def results(mine, sketch, photo):
    """An ID set, two OOD sets, and averages, which are no sets."""
    sets = {"mine": set_scores(mine, role="id"), "sketch": set_scores(sketch), "photo": set_scores(photo)}
    averages = {
        "avg_ood": {"sets": ["sketch", "photo"], "accuracy": (sketch + photo) / 2, "ece": 0.05},
        "drawn": {"sets": ["sketch"], "accuracy": sketch, "ece": 0.05},
    }
    return {**sets, **averages}


@pytest.fixture
def seeds(tmp_path):
    """Two seeds, each with its own zero-shot accuracy, of which one gains on the sketches and one loses.

    They have a teacher, and trained 13 of 2000 parameters.
    """
    before = [results(0.50, 0.40, 0.60), results(0.52, 0.40, 0.60)]
    students = [results(0.80, 0.50, 0.40), results(0.88, 0.36, 0.50)]
    teachers = [results(0.70, 0.45, 0.62), results(0.72, 0.45, 0.62)]
    for seed in (0, 1):
        write_run(tmp_path / str(seed), students[seed], teachers[seed], before[seed], trained=13, seed=seed)
    return tmp_path


def rows_of(folder, model="student"):
    return [row for row in comparison(folder, model).rows if row.model != "zero_shot"]


def values(row):
    return {place: pytest.approx(cell.mean) for place, cell in gains(row).items()}


def gains_table(folder, model="student"):
    """Lines of the Markdown table against zero-shot."""
    result = comparison(folder, model)
    text = markdown(sections(result, select_results(result, None, None))[1:])
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]


def test_by_hand_over_seeds(seeds):
    [row] = rows_of(seeds)
    result = gains(row)
    mean = {place: cell.mean for place, cell in result.items()}
    assert mean == {
        ResultKey("mine", "gain_id"): pytest.approx((0.30 + 0.36) / 2),
        ResultKey(ALL_BUT_ID, "gain_ood"): pytest.approx((-0.05 - 0.07) / 2),
        ResultKey(ALL_BUT_ID, "forgetting"): pytest.approx(((0.00 + 0.20) / 2 + (0.04 + 0.10) / 2) / 2),
        ResultKey("", "trained_share"): 0.0065,
    }
    std = {place.metric: cell.std for place, cell in result.items()}
    assert std["gain_id"] == pytest.approx(0.06 / 2**0.5)
    assert std["gain_ood"] == pytest.approx(0.02 / 2**0.5)
    assert std["forgetting"] == pytest.approx(0.03 / 2**0.5)
    assert std["trained_share"] is None


def test_gains_of_a_set_do_not_offset_losses_of_others(tmp_path):
    write_run(tmp_path / "run", results(0.8, 0.7, 0.5), zero_shot=results(0.5, 0.4, 0.6))
    [row] = rows_of(tmp_path)
    result = gains(row)
    assert result[ResultKey(ALL_BUT_ID, "gain_ood")].mean == pytest.approx((0.3 - 0.1) / 2)
    assert result[ResultKey(ALL_BUT_ID, "forgetting")].mean == pytest.approx((0 + 0.1) / 2)


def test_the_mean_over_several_id_sets(tmp_path):
    before = {"a": set_scores(0.5, role="id"), "b": set_scores(0.7, role="id")}
    after = {"a": set_scores(0.8, role="id"), "b": set_scores(0.6, role="id")}
    write_run(tmp_path / "run", after, zero_shot=before)
    [row] = rows_of(tmp_path)
    assert values(row) == {ResultKey("a b", "gain_id"): (0.3 - 0.1) / 2}
    assert gains_table(tmp_path)[-1] == ["method=tracer", "1", "+10.0", "–", "–", "–"]


def test_a_set_of_another_role_may_be_forgotten_but_is_not_ood(tmp_path):
    before = {**results(0.5, 0.4, 0.6), "birds": set_scores(0.9, role="other")}
    after = {**results(0.8, 0.4, 0.6), "birds": set_scores(0.6, role="other")}
    write_run(tmp_path / "run", after, zero_shot=before)
    [row] = rows_of(tmp_path)
    assert values(row) == {
        ResultKey("mine", "gain_id"): 0.3,
        ResultKey(ALL_BUT_ID, "gain_ood"): 0.0,
        ResultKey("birds", "gain_other"): pytest.approx(-0.3),
        ResultKey(f"{ALL_BUT_ID} birds", "forgetting"): 0.1,
    }
    assert gains_table(tmp_path)[-1] == ["method=tracer", "1", "+30.0", "+0.0", "−30.0", "10.0", "–"]
    result = comparison(tmp_path)
    text = markdown(sections(result, select_results(result, None, None))[1:])
    assert "accuracy OOD gain | accuracy other gain | accuracy forgetting" in text
    assert "the mean over ID, OOD or other sets" in text
    rows = list(csv.DictReader(io.StringIO(raw(result))))
    assert [row["data_set"] for row in rows if row["metric"] == "gain_other"] == ["birds"]


def test_an_untrained_model(tmp_path):
    same = scores(0.5, 0.4)
    write_run(tmp_path / "zs", same, zero_shot=same, trained=0, method="zs")
    [row] = rows_of(tmp_path)
    assert {place: cell.mean for place, cell in gains(row).items()} == {**NOTHING, ResultKey("", "trained_share"): 0.0}
    assert gains_table(tmp_path)[-1] == ["method=zs", "1", "+0.0", "+0.0", "0.0", "0.00"]


def test_an_older_run_without_parameters(tmp_path):
    write_run(tmp_path / "old", scores(0.5, 0.4), beta=0.2)
    for seed, trained in enumerate([None, 500]):
        write_run(tmp_path / f"mixed{seed}", scores(0.5, 0.4), trained=trained, beta=0.5, seed=seed)
    write_run(tmp_path / "new", scores(0.5, 0.4), trained=500, beta=0.7)
    assert [line[-1] for line in gains_table(tmp_path)[2:]] == ["–", "–", "25.00"]


def test_a_run_without_zero_shot_scores(tmp_path):
    for seed, before in enumerate([{}, None]):
        write_run(tmp_path / f"half{seed}", scores(0.8, 0.5), zero_shot=before, trained=20, beta=0.2, seed=seed)
    write_run(tmp_path / "whole", scores(0.8, 0.3), trained=20, beta=0.7)
    assert gains_table(tmp_path)[2:] == [
        ["kernel.beta=0.2", "2", "–", "–", "–", "1.00"],
        ["kernel.beta=0.7", "1", "+30.0", "−10.0", "10.0", "1.00"],
    ]


def test_no_table_where_no_run_has_zero_shot_scores(tmp_path):
    write_run(tmp_path / "run", scores(0.8, 0.5), zero_shot={}, trained=20)
    result = comparison(tmp_path)
    assert len(sections(result, select_results(result, None, None))) == 1


def test_zero_shot_models_alone_have_no_table(seeds):
    result = comparison(seeds, "zero_shot")
    assert len(sections(result, select_results(result, None, None))) == 1


def test_markdown(seeds):
    table = gains_table(seeds, "all")
    heads = ["accuracy ID gain", "accuracy OOD gain", "accuracy forgetting", "parameters trained"]
    assert table[0] == ["setting", "n", *heads]
    assert table[2:] == [
        ["method=tracer (student)", "2", "+33.0 ± 4.2", "−6.0 ± 1.4", "8.5 ± 2.1", "0.65"],
        ["method=tracer (teacher)", "2", "+20.0 ± 0.0", "+3.5 ± 0.0", "0.0 ± 0.0", "0.65"],
    ]


def test_each_table_has_its_notes(seeds):
    result = comparison(seeds)
    text = markdown(sections(result, select_results(result, None, None)))
    assert text.count("in percent.\n\n**digits: against zero-shot**") == 1
    assert text.endswith("in percent.\n")
    assert "Forgetting: max(0, zero-shot − after), the mean over all sets but the ID ones." in text


def test_latex(seeds):
    result = comparison(seeds)
    text = latex(sections(result, select_results(result, None, None)))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert r"\multicolumn{3}{c}{accuracy} & \multicolumn{1}{c}{parameters} \\" in text
    assert r"method=tracer & 2 & +33.0 $\pm$ 4.2 & $-$6.0 $\pm$ 1.4 & 8.5 $\pm$ 2.1 & 0.65 \\" in text
    captions = [line for line in text.splitlines() if r"\caption" in line]
    assert ["Forgetting" in caption for caption in captions] == [False, True]
    assert text.count("{") == text.count("}")


def test_csv(seeds):
    lines = list(csv.DictReader(io.StringIO(raw(comparison(seeds, "all")))))
    result = {line["metric"]: line for line in lines if line["model"] == "student"}
    forgotten = result["forgetting"]
    assert (forgotten["setting"], forgotten["n"], forgotten["seeds"]) == ("method=tracer", "2", "0 1")
    assert (forgotten["data_set"], float(forgotten["mean"])) == (ALL_BUT_ID, pytest.approx(0.085, abs=1e-12))
    assert float(forgotten["std"]) == pytest.approx(0.03 / 2**0.5, abs=1e-12)
    assert (result["gain_id"]["data_set"], result["gain_ood"]["data_set"]) == ("mine", ALL_BUT_ID)
    share = result["trained_share"]
    assert (share["data_set"], share["mean"], share["std"], share["published"]) == ("", "0.0065", "", "")
    before = {line["metric"] for line in lines if line["model"] == "zero_shot"}
    assert before == {"accuracy", "ece", "macro_f1"}


def test_as_many_digits_as_beside_published_values(tmp_path):
    imagenet_run(tmp_path / "run", 0.8276, 0.57)
    assert gains_table(tmp_path)[-1] == ["method=tracer", "1", "+14.76", "−1.00", "1.00", "–"]
