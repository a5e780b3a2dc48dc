import json

import pytest

from scripts.benchmark import main
from tests.conftest import tiny_backbone
from tracer_lightning.benchmarks import alignment, averaging, evaluating, levers, memory, statistics, step


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Function that runs a part with a small model and returns the results that it writes."""
    for module in (averaging, evaluating, levers, statistics, step):
        monkeypatch.setattr(module, "load_clip", lambda name: tiny_backbone())

    def run(part, *options):
        assert main([part, *options, "--json", str(tmp_path / "found.json")]) == 0
        found = json.loads((tmp_path / "found.json").read_text())
        assert {"processor", "cores", "threads", "gpu", "date"} <= set(found["machine"])
        assert {"python", "torch", "torchvision"} <= set(found["machine"]["versions"])
        return found["results"]

    return run


def ordered(spread):
    low, high = spread["range"]
    return 0 < low <= spread["median"] <= high


def test_data(written):
    options = ["--images", "8", "--image-size", "32", "--batch-size", "4", "--num-workers", "0", "--rounds", "2"]
    rates = written("data", *options)["images per second"]
    assert list(rates) == ["training crop, one core", "evaluation crop, one core", "training loader, 0 workers"]
    for row in rates.values():
        assert ordered(row["ratio"])
        assert len(row["rounds"]["ours"]) == 2


@pytest.mark.slow
def test_step(written, capsys):
    report = written("step", "--batch-size", "4", "--steps", "1", "--rounds", "1")
    assert report["options"]["batch_size"] == 4
    assert set(report["ratios"]) == {f"{numerator} / {denominator}" for numerator, denominator in step.RATIOS}
    assert set(report["peak memory"]) == set(report["seconds"])
    assert all(ordered(each) for each in report["seconds"].values())
    assert "our TRACER / plain FLYP" in capsys.readouterr().out


@pytest.mark.slow
def test_levers(written, capsys):
    names = ["captions trimmed", "AdamW fused"]
    report = written("levers", "--batch-size", "4", "--steps", "1", "--rounds", "1", "--levers", *names)
    assert list(report["levers"]) == names
    for each in report["levers"].values():
        assert each["ratio"]["median"] == each["with"] / each["without"] > 0
    assert "AdamW fused" in capsys.readouterr().out


@pytest.mark.slow
def test_memory(written, monkeypatch, capsys):
    """In this process; a subprocess is tested with the measurement itself."""
    monkeypatch.setattr(memory, "load_clip", lambda name: tiny_backbone())
    monkeypatch.setattr(
        memory, "measure_in_subprocess", lambda options: {**options._asdict(), **memory.measure(options)}
    )
    runs = written("memory", "--batch-size", "2", "--doublings", "1", "--micro-batch", "2")["runs"]
    settings = [(run["method"], run["batch_size"], run["gradient_checkpointing"], run["micro_batch"]) for run in runs]
    assert settings[:6] == [
        *(("flyp", 2, False, None), ("flyp", 2, True, None)),
        *(("flyp", 4, False, None), ("flyp", 4, False, 2), ("flyp", 4, True, None), ("flyp", 4, True, 2)),
    ]
    assert len(runs) == 12
    assert all(run["peak"] >= run["imports"] > 0 and run["seconds"] > 0 for run in runs)
    assert "peak MiB" in capsys.readouterr().out


@pytest.mark.slow
def test_alignment(written, monkeypatch, capsys):
    """In this process; a new one would only have less memory to begin with."""
    monkeypatch.setattr(alignment, "distance_memory_in_subprocess", alignment.distance_memory)
    options = ["--samples", "4", "--doublings", "1", "--steps", "1", "--rounds", "2"]
    report = written("alignment", *options)
    assert all(ordered(part) for part in report["stage"].values())
    assert list(report["distances"]) == ["4", "8"]
    assert len(report["memory"]) == len(alignment.MEASURED)
    assert "stage 1 of the demo" in capsys.readouterr().out


def test_teacher(written, capsys):
    report = written("teacher", "--batch-size", "4", "--steps", "2", "--every", "10", "--rounds", "2")
    assert ordered(report["update"]["share of the copy's bandwidth"])
    assert ordered(report["statistics"]["share"])
    shown = capsys.readouterr().out
    assert "naive loop / our update" in shown
    assert "every 10 steps" in shown


def test_eval(written, capsys):
    options = ["--sets", "2", "--images", "4", "--classes", "3", "--templates", "2", "--batch-size", "2"]
    report = written("eval", *options, "--num-workers", "0", "--rounds", "1")
    assert ordered(report["plain / ours"])
    assert report["peak memory"]["ours"]["host"] > 1e6
    assert "plain / ours" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "--batch-size", "9", "--images", "8"], "--batch-size must lie between 1 and --images"),
        (["step", "--steps", "0"], "--steps must be at least 1"),
        (["eval", "--num-workers", "-1"], "--num-workers must be at least 0"),
        (["teacher", "--rounds", "0"], "--rounds must be at least 1"),
    ],
)
def test_mistakes_are_named(arguments, message, capsys):
    assert main(arguments) == 1
    assert capsys.readouterr().err == f"error: {message}\n"
