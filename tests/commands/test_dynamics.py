from tests.commands.helpers import dynamics as main
from tests.reporting.test_dynamics import write
from tracer_lightning.commands.dynamics import WIDTH


def test_figure_and_tables(tmp_path, capsys):
    for number, every in enumerate((1, 10)):
        write(tmp_path / f"runs/{number}", {"teacher/kl": lambda step: 0.1 * (step + 1)}, every=every)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "new/gaps.svg")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [str(tmp_path / "new/gaps.svg"), str(tmp_path / "new/gaps.csv")]
    assert max(map(len, lines[:-2])) <= WIDTH
    shown = [line.split() for line in lines if "teacher.every_n_steps=10" in line]
    assert shown == [["teacher.every_n_steps=10", "0.15", "1.05", "1.95"]]
    assert "teacher.every_n_steps=10" in (tmp_path / "new/gaps.svg").read_text()
    assert len((tmp_path / "new/gaps.csv").read_text().splitlines()) == 3


def test_mistakes_are_one_line(tmp_path, capsys):
    write(tmp_path / "plain", {})
    write(tmp_path / "run", {"teacher/kl": lambda step: 0.1}, seed=1)
    for arguments, said in (
        ([tmp_path / "nowhere"], "nowhere: no such folder"),
        ([tmp_path / "plain"], "no statistics in metrics.csv"),
        ([tmp_path / "run", "--out", tmp_path / "gaps.xyz"], "xyz"),
        ([], "required: RUNS; see "),
    ):
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert said in error
        assert error.count("\n") == 1
