import csv

import pytest
from scipy.stats import ttest_1samp

from scripts.toy import main
from tests.reporting.run_folders import scores, write_run
from tracer_lightning.reporting.runs import find_runs, group_runs
from tracer_lightning.reporting.training_curves import Curve
from tracer_lightning.studies.toy.arms import accuracy_before, arms, interval, late_mean
from tracer_lightning.studies.toy.report import panels, tradeoff

NAMES = ("coloured", "plain")
MOMENTUM = "teacher.module.momentum"
L2, FD = "regularizers.l2_sp", "distill_losses.fd"


def write(folder, task, original, gap=(), **settings):
    """A finished run; its gap, where it has one, is logged at steps 10, 20, ... and its teacher is a point better."""
    teacher = scores(task, original + 0.01, names=NAMES) if gap else None
    write_run(folder, scores(task, original, names=NAMES), teacher, scores(0.5, 0.95, names=NAMES), **settings)
    rows = [f"{10 * number},{value}" for number, value in enumerate(gap, 1)]
    (folder / "metrics.csv").write_text("\n".join(["step,train/loss/fd" if gap else "step,other", *rows, ""]))


def read_arms(folder):
    groups, _ = group_runs(find_runs([str(folder)])[0])
    return {(arm.name, arm.strength): arm for arm in arms(groups)}, accuracy_before(groups)


@pytest.fixture
def methods(tmp_path):
    folder = tmp_path / "runs"
    for seed, original in enumerate((0.6, 0.7, 0.8)):
        write(folder / f"direct{seed}", 0.98, original, method="flyp", teacher="No", terms=(), seed=seed)
        for momentum, gap in ((0.9, 0.0), (0.99999, 0.2)):
            more = {"method": "sd_ema", "teacher": "EMA", MOMENTUM: momentum, "terms": ("fd",), "seed": seed}
            write(folder / f"ema{momentum}{seed}", 0.97, original + gap, [0.1] * 18 + [gap, gap + 0.02 * seed], **more)
    return folder


@pytest.fixture
def strengths(tmp_path):
    folder = tmp_path / "runs"
    for number, strength in enumerate((0.1, 1.0, 10.0)):
        more = {"method": "sd_wma", "strength": strength, "terms": ("fd",)}
        write(folder / f"wma{strength}", 0.99 - number / 100, 0.6 + number / 10, [0.1], **more)
        more = {"method": "l2_sp", "teacher": "No", "terms": (), f"{L2}.term": {"_target_": "L2SP"}}
        write(
            folder / f"l2{strength}", 0.99 - number / 50, 0.5 + number / 10, **more, **{f"{L2}.weight": strength / 100}
        )
    return folder


def test_interval_is_students():
    values = [0.6, 0.7, 0.83]
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    result = interval(values)
    assert (result.mean - result.half, result.mean + result.half) == pytest.approx(tuple(expected))
    assert interval([0.5]).half is None


def test_late_is_the_last_tenth_of_the_steps():
    assert late_mean(Curve(list(range(10, 201, 10)), [1.0] * 18 + [0.2, 0.4])) == pytest.approx(0.3)
    assert late_mean(Curve([10, 20], [1.0, 0.5])) == 0.5


def test_methods_are_named_by_what_varies(methods):
    by_name, start = read_arms(methods)
    assert set(by_name) == {("flyp", ""), ("sd_ema, momentum=0.9", ""), ("sd_ema, momentum=0.99999", "")}
    assert start == pytest.approx({"original": 0.95, "task": 0.5})


def test_values_by_hand(methods):
    by_name, _ = read_arms(methods)
    direct, slow = by_name["flyp", ""], by_name["sd_ema, momentum=0.99999", ""]
    assert direct.seeds == slow.seeds == 3
    means = {key: value.mean for key, value in slow.values.items()}
    expected = {"original": 0.9, "task": 0.97, "forgetting": 0.05, "teacher": 0.91, "late gap": 0.21}
    assert means == pytest.approx(expected)
    assert set(direct.values) == {"original", "task", "forgetting"}
    assert direct.values["original"].half == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert slow.gap[10] == pytest.approx(0.1)
    assert slow.gap[200] == pytest.approx((0.2 + 0.22 + 0.24) / 3)
    assert not direct.gap


def test_strengths_are_points_of_one_line(strengths):
    by_name, _ = read_arms(strengths)
    assert {name for name, _ in by_name} == {"sd_wma", "l2_sp"}
    assert {strength for name, strength in by_name if name == "sd_wma"} == {"0.1", "1", "10"}
    assert {strength for name, strength in by_name if name == "l2_sp"} == {"0.001", "0.01", "0.1"}


@pytest.mark.parametrize(
    ("runs", "kind", "name"),
    [
        ("methods", "panels", "digits"),
        pytest.param("strengths", "tradeoff", "toy_0.5", marks=pytest.mark.slow),
    ],
)
def test_table_and_figure_from_the_command_line(runs, kind, name, tmp_path, request, capsys):
    folder, out = request.getfixturevalue(runs), tmp_path / "out"
    for path in folder.glob("*/results.json"):
        path.write_text(path.read_text().replace('"digits"', f'"{name}"'))
    assert main([str(folder), "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        f"{name}_{kind}.{suffix}" for suffix in ("png", "svg", "csv", "md")
    }
    printed = capsys.readouterr().out
    assert "before" in printed
    with (out / f"{name}_{kind}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["method"] for row in rows} == {name for name, _ in read_arms(folder)[0]}
    head, _, start, *lines = (out / f"{name}_{kind}.md").read_text().splitlines()
    assert ("strength" in head) == (kind == "tradeoff")
    assert start.startswith("| before |")
    assert "95.0" in start
    assert len(lines) == len(read_arms(folder)[0])
    if kind == "panels":
        assert "| sd_ema, momentum=0.99999 | 3 | 90.0 ± 24.8 | 97.0 ± 0.0 | 5.0 ± 24.8 | 91.0 ± 24.8 |" in lines[2]


def test_panels_show_the_numbers(methods):
    by_name, start = read_arms(methods)
    original, _, gap = panels(list(by_name.values()), start).axes
    names = [arm.name for arm in by_name.values()]
    assert [tick.get_text().replace("\n", ", ") for tick in original.get_yticklabels()] == names
    assert original.lines[0].get_xdata() == pytest.approx([70.0])
    assert [line.get_label() for line in gap.lines] == [arm.name for arm in by_name.values() if arm.gap]


def test_tradeoff_joins_strengths_in_their_order(strengths):
    by_name, start = read_arms(strengths)
    original, task, both = tradeoff(list(reversed(by_name.values())), start).axes
    lines = {line.get_label(): line for line in both.lines}
    assert original.lines[0].get_xdata() == pytest.approx([0.1, 1.0, 10.0])
    assert task.lines[0].get_xdata() == pytest.approx([0.1, 1.0, 10.0])
    assert lines["sd_wma"].get_xdata() == pytest.approx([99.0, 98.0, 97.0])
    assert lines["sd_wma"].get_ydata() == pytest.approx([60.0, 70.0, 80.0])
    assert lines["l2_sp"].get_ydata() == pytest.approx([50.0, 60.0, 70.0])


def test_points_of_several_strengths_are_not_drawn(strengths, capsys):
    more = {
        "method": "sd_wma",
        "strength": 1.0,
        "terms": ("fd",),
        f"{FD}.weight": 7.0,
        f"{FD}.term": {"_target_": "FD"},
    }
    write(strengths / "heavier", 0.98, 0.7, [0.1], **more)
    assert main([str(strengths), "--out", str(strengths / "out")]) == 1
    assert "sd_wma: several settings of its strength vary" in " ".join(capsys.readouterr().err.split())


def test_runs_without_both_roles_raise_an_error(tmp_path, capsys):
    write_run(tmp_path / "run", scores(0.9, 0.8, names=("one",)), zero_shot=scores(0.9, 0.8, names=("one",)))
    assert main([str(tmp_path)]) == 1
    assert "on sets of role ood; evaluate on" in " ".join(capsys.readouterr().err.split())
