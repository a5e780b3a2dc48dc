from scripts import theory
from tracer_lightning.analysis.theory_checks import Check


def test_the_command_end_to_end(tmp_path, capsys):
    assert theory.main(["--seed", "1", "--out", str(tmp_path / "new")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("yes    ") for line in lines) == 43
    assert lines[0].strip() == "Claims"
    assert max(map(len, lines)) <= theory.WIDTH
    names = [f"theory_{name}.{suffix}" for name in ("gap", "geometry", "weights") for suffix in ("png", "svg")]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    assert b"static SD" in (tmp_path / "new/theory_geometry.svg").read_bytes()


def test_one_that_does_not_hold_is_the_exit_status(monkeypatch, capsys):
    wrong = Check("one is two", "1", "2", holds=False)
    monkeypatch.setattr(theory, "CLAIMS", (lambda problem: iter([wrong]),))
    monkeypatch.setattr(theory, "CONDITIONS", ())
    assert theory.main([]) == 1
    assert capsys.readouterr().out.splitlines()[4].split() == ["one", "is", "two", "1", "2", "NO"]
