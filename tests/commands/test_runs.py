from tests.commands.helpers import script
from tests.reporting.run_folders import scores, set_scores, write_run


def test_a_line_for_each_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    birds = {"birds": set_scores(0.0, role="other")}
    write_run(
        tmp_path / "a/one",
        scores(0.8, 0.3) | birds,
        zero_shot=scores(0.5, 0.4) | {"birds": set_scores(0.25, role="other")},
    )
    write_run(tmp_path / "a/two", scores(0.7, 0.4), method="flyp", seed=3)
    for folder, log in (("b", "train.log"), ("c/evaluation", "evaluate.log")):
        (tmp_path / folder / ".hydra").mkdir(parents=True)
        (tmp_path / folder / log).touch()
    status, out, _ = script("runs", "a", "b", "c")
    assert status == 0
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("a/")]
    assert rows[0][1:] == ["tracer", "0", "accuracy", "80.0", "(+30.0)", "30.0", "(−10.0)", "0.0", "(−25.0)"]
    assert rows[1][1:] == ["flyp", "3", "accuracy", "70.0", "(+20.0)", "40.0", "(+0.0)", "–"]
    assert "\nb: unfinished or failed" in out
    assert "evaluation" not in out


def test_long_names_are_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "a/" + "long_name_" * 15
    write_run(tmp_path / name, scores(0.8, 0.3), tags=["first", "second"])
    (row,) = [line.split() for line in script("runs", "a")[1].splitlines() if "tracer" in line]
    assert row[0] == name


def test_runs_by_their_tags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, tags in (("one", ["paper", "v2"]), ("two", ["v2"]), ("three", [])):
        write_run(tmp_path / f"a/{name}", scores(0.8, 0.3), tags=tags)
    (tmp_path / "a/b/.hydra").mkdir(parents=True)
    rows = [line.split()[:3] for line in script("runs", "a")[1].splitlines() if "tracer" in line]
    assert rows == [["a/one", "paper,", "v2"], ["a/three", "tracer", "0"], ["a/two", "v2", "tracer"]]
    out = script("runs", "a", "--tags", "v2", "paper")[1]
    assert [name for name in ("one", "two", "three", "unfinished") if name in out] == ["one"]
    assert script("runs", "a", "--tags", "v3")[1] == "no runs in a with the tags v3\n"


def test_folders_without_runs(tmp_path):
    assert script("runs", str(tmp_path))[1] == f"no runs in {tmp_path}\n"
    status, _, err = script("runs", str(tmp_path / "gone"))
    assert (status, "no such folder" in err) == (1, True)
