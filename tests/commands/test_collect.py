import csv
import subprocess
import sys

import pytest

from tests.commands.helpers import collect as main
from tests.reporting.run_folders import scores, write_run


@pytest.fixture
def sweep(tmp_path):
    for beta in (0.2, 0.7):
        for seed in (0, 1):
            write_run(tmp_path / f"sweep/{beta}-{seed}", scores(0.9 + seed / 50, beta), beta=beta, seed=seed)
    return tmp_path / "sweep"


def error(capsys, *arguments):
    """The one line with which a command fails."""
    assert main([str(argument) for argument in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    return lines[-1]


def test_the_table(sweep, capsys):
    assert main([str(sweep)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    rows = [line.split() for line in shown.out.splitlines() if "kernel.beta" in line]
    assert rows[0][:5] == ["kernel.beta=0.2", "2", "91.0", "±", "1.4"]
    assert " ".join(rows[2]) == "kernel.beta=0.2 2 +41.0 ± 1.4 −20.0 ± 0.0 20.0 ± 0.0 –"
    assert len(rows) == 4
    assert max(map(len, shown.out.splitlines())) <= 100


def test_files(sweep, tmp_path, capsys):
    out = tmp_path / "new/out"
    assert main([str(sweep), "--out", str(out), "--metrics", "macro_f1", "--sets", "other"]) == 0
    names = ["comparison.html", "curves.png", "curves.svg", "table.csv", "table.md", "table.tex"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert capsys.readouterr().out.splitlines()[-6:] == [
        str(out / name) for name in (*names[3:], *names[1:3], names[0])
    ]
    assert 'href="curves.svg"' in (out / "comparison.html").read_text(encoding="utf-8")
    with (out / "table.csv").open(encoding="utf-8") as stream:
        metrics = {row["metric"] for row in csv.DictReader(stream)}
    assert metrics == {"accuracy", "ece", "macro_f1", "gain_id", "gain_ood", "forgetting"}
    assert "macro-F1" in (out / "table.md").read_text(encoding="utf-8")
    assert r"\toprule" in (out / "table.tex").read_text(encoding="utf-8")


def test_why_there_are_no_curves(sweep, tmp_path, capsys):
    assert main([f"{sweep}/0.2-*", "--out", str(tmp_path / "out")]) == 0
    assert "no curves: curves take runs in which exactly one setting varies; here vary: none" in capsys.readouterr().out
    assert not (tmp_path / "out/curves.png").exists()


def test_warnings(sweep, capsys):
    (sweep / "0.2-1/results.json").unlink()
    write_run(sweep / "again", scores(0.9, 0.7), beta=0.7)
    assert main([str(sweep)]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith(f"warning: {sweep / '0.2-1'}: unfinished or failed")
    assert warnings[1].startswith(f"warning: {sweep / 'again'}: settings and seed of {sweep / '0.7-0'}")


def test_mistakes_are_named(sweep, tmp_path, capsys):
    assert "nowhere: no such folder" in error(capsys, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no finished run there" in error(capsys, tmp_path / "empty")
    assert "invalid choice: 'best'" in error(capsys, sweep, "--model", "best")
    assert "error: model teacher: none of these runs" in error(capsys, sweep, "--model", "teacher")
    assert "error: metrics auc: none of these runs has it" in error(capsys, sweep, "--metrics", "auc")
    assert "error: sets pets: none of these runs has it" in error(capsys, sweep, "--sets", "pets")
    (tmp_path / "file").touch()
    assert "file" in error(capsys, sweep, "--out", tmp_path / "file")


def test_frontiers(tmp_path, capsys):
    for method, ood in (("flyp", 0.2), ("tracer", 0.3)):
        for rate in (0.1, 0.2):
            settings = {"method": method, "optimizer.lr": rate}
            write_run(tmp_path / f"runs/{method}-{rate}", scores(0.6 + rate, ood - rate / 10), **settings)
    out = tmp_path / "out"
    assert main([str(tmp_path / "runs"), "--frontier", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    names = ["frontier.csv", "frontier.md", "frontier.png", "frontier.svg"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert shown.out.splitlines()[-4:] == [str(out / name) for name in names]
    assert "| tracer | 1 | 2 | 2 |" in (out / "frontier.md").read_text(encoding="utf-8")
    assert "| series | n |" in (out / "frontier.md").read_text(encoding="utf-8")
    assert len((out / "frontier.csv").read_text(encoding="utf-8").splitlines()) == 5


def test_mistakes_about_frontiers_are_named(sweep, capsys):
    assert "--sets: give this option or --frontier" in error(capsys, sweep, "--frontier", "--sets", "all")
    assert "error: model zero_shot: none of these runs has a trained one" in error(
        capsys, sweep, "--frontier", "--model", "zero_shot"
    )
    assert "need series with several settings of optimizer.lr or" in error(capsys, sweep, "--frontier")


@pytest.mark.slow
def test_as_a_command(sweep):
    help_text = subprocess.run(
        [sys.executable, "scripts/collect.py", "--help"], capture_output=True, text=True, check=True
    )
    assert "examples:" in help_text.stdout
