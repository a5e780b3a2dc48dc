import pytest

from scripts import theory
from tracer_lightning.studies.theory.claims import Check


@pytest.mark.slow
def test_the_command_end_to_end(tmp_path, capsys):
    assert theory.main(["--seed", "1", "--out", str(tmp_path / "new")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("yes    ") for line in lines) == 74
    assert [line.strip() for line in lines if line.strip() in dict(theory.TABLES)] == list(dict(theory.TABLES))
    for claim in ("C.6's gradient bound, Beta 0.2", "Corollary C.9, linear rate", "Proposition C.10, below static SD"):
        assert any(line.strip().startswith(claim) for line in lines)
    assert max(map(len, lines)) <= theory.WIDTH
    names = [
        f"theory_{name}.{suffix}" for name in ("bounds", "gap", "geometry", "weights") for suffix in ("png", "svg")
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == names
    assert b"static SD" in (tmp_path / "new/theory_geometry.svg").read_bytes()


def test_one_that_does_not_hold_is_the_exit_status(monkeypatch, capsys):
    wrong = Check("one is two", "1", "2", holds=False)
    monkeypatch.setattr(theory, "TABLES", (("Claims", (lambda problem: iter([wrong]),)),))
    assert theory.main([]) == 1
    assert capsys.readouterr().out.splitlines()[4].split() == ["one", "is", "two", "1", "2", "NO"]
