import json

import pytest

from scripts.benchmark import main
from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks import step


def test_data(tmp_path):
    options = ["--pictures", "8", "--image-size", "32", "--batch-size", "4", "--num-workers", "0", "--repeats", "2"]
    assert main(["data", *options, "--json", str(tmp_path / "data.json")]) == 0
    written = json.loads((tmp_path / "data.json").read_text())
    assert [row["name"] for row in written["results"]] == [
        "training crop, one core", "evaluation crop, one core", "training loader, 0 workers",
    ]  # fmt: skip
    for row in written["results"]:
        low, high = row["ratio_range"]
        assert 0 < low <= row["ratio"] <= high
        assert len(row["repetitions"]["ours"]) == 2
    assert {"cores", "torch", "torchvision"} <= set(written["machine"])


def test_mistakes_are_named(capsys):
    with pytest.raises(SystemExit) as status:
        main(["data", "--batch-size", "0"])
    assert status.value.code == 2
    assert "--batch-size must lie between 1 and --pictures" in capsys.readouterr().err


def test_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(step, "load_clip", lambda name: tiny_backbone())
    options = ["--batch-size", "4", "--steps", "1", "--rounds", "1", "--json", str(tmp_path / "step.json")]
    assert main(["step", *options]) == 0
    written = json.loads((tmp_path / "step.json").read_text())
    assert written["results"]["options"]["batch_size"] == 4
    assert set(written["results"]["ratios"]) == {f"{one} / {other}" for one, other in step.RATIOS}
    assert "our TRACER / plain FLYP" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["step", "--steps", "0"])
