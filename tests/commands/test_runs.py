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
    (tmp_path / "b/.hydra").mkdir(parents=True)
    status, out, _ = script("runs", "a", "b")
    assert status == 0
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("a/")]
    assert rows[0][1:] == ["tracer", "0", "accuracy", "80.0", "(+30.0)", "30.0", "(−10.0)", "0.0", "(−25.0)"]
    assert rows[1][1:] == ["flyp", "3", "accuracy", "70.0", "(+20.0)", "40.0", "(+0.0)", "–"]
    assert "\nb: unfinished or failed" in out


def test_folders_without_runs(tmp_path):
    assert script("runs", str(tmp_path))[1] == f"no runs in {tmp_path}\n"
    status, _, err = script("runs", str(tmp_path / "gone"))
    assert (status, "no such folder" in err) == (1, True)
