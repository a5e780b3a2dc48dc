"""Random command lines: each runs one step, or ends in one clear line. Larger campaigns: scripts/fuzz_config.py."""

import pytest
import torch

from tests.commands import test_cli
from tests.fuzzing.inside import draw as draw_inside
from tests.fuzzing.inside import make_bases, try_case
from tests.fuzzing.overrides import Case, Fuzzer, draw
from tests.fuzzing.running import ENTRIES, attempt, bounded, command, defaults, entry, judged
from tracer_lightning.models import build_clip

STATE = build_clip(
    64,
    {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1, "head_width": 32},
    {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
).model.model.state_dict()
QUICK, SLOW = 10, 70
CASES = draw(SLOW, 0, defaults())
NAMED = [
    *([given] for given, _ in test_cli.COMPOSITION_MISTAKES),
    *(given for given, _ in test_cli.MISTAKES),
]
"""Mistakes that have tests of their own."""


def check(cases, tmp_path, monkeypatch, script="train.py"):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    module, faults = entry(script), []
    with bounded():
        for number, overrides in enumerate(cases):
            (tmp_path / str(number)).mkdir()
            if script in MODEL:
                torch.save(STATE, tmp_path / str(number) / "bare.pt")
            monkeypatch.chdir(tmp_path / str(number))
            outcome = attempt(module, overrides, **ENTRIES[script])
            if outcome.fault:
                faults.append((overrides, outcome))
    assert not faults


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ten_cases(tmp_path, monkeypatch):
    check([command(case) for case in CASES[:QUICK]], tmp_path, monkeypatch)


@pytest.mark.exhaustive
@pytest.mark.parametrize("part", range(2))
def test_more_cases(tmp_path, monkeypatch, part):
    check([command(case) for case in CASES[QUICK + part :: 2]], tmp_path, monkeypatch)


@pytest.mark.exhaustive
def test_named_mistakes(tmp_path, monkeypatch):
    check([command(Case(tuple(given), "named")) for given in NAMED[::2]], tmp_path, monkeypatch)


MAIN = {
    "scripts/evaluate.py": (
        "checkpoint",
        "models",
        "heads",
        "temperature",
        "averages",
        "primary_metric",
        "seed",
        "data",
    ),
    "scripts/export.py": ("checkpoint", "model", "out", "push", "private", "backbone"),
    "scripts/merge.py": (
        "checkpoint",
        "checkpoints",
        "start",
        "model",
        "out",
        "merge.alpha",
        "merge.head",
        "primary_metric",
    ),
    "scripts/diagnose.py": ("checkpoint", "models", "runs", "seed", "data", "trainer"),
    "scripts/similarity.py": ("first", "second", "models", "second_model", "split", "samples", "towers", "tokens"),
    "scripts/changed.py": ("checkpoint", "start", "model", "images", "seed", "maps"),
}
"""What users set there."""


MODEL = {
    "scripts/export.py": ("checkpoint=bare.pt", "out=export"),
    "scripts/merge.py": ("checkpoint=bare.pt", "start=bare.pt"),
    "scripts/similarity.py": ("first=bare.pt", "second=bare.pt"),
    "scripts/changed.py": ("checkpoint=bare.pt", "start=bare.pt"),
}
"""What each needs."""


def light(script, count, seed=0):
    """Cases of one or two main settings, of an untrained tiny model in ``bare.pt``."""
    fuzzer = Fuzzer(dict.fromkeys(MAIN[script]), seed)
    small = ("backbone.vision_cfg.layers=1", "backbone.text_cfg.layers=1", "run=case", "trainer.limit_test_batches=1")
    small = (*(small[:2] if "export" in script else small), *MODEL.get(script, ()))
    return [[*small, *(fuzzer.value() + (fuzzer.value() if number % 3 == 0 else []))] for number in range(count)]


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, pytest.param(15, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("script", MAIN)
def test_other_entries(tmp_path, monkeypatch, script, count):
    check(light(script, count), tmp_path, monkeypatch, script)


def tried(count, folder, seed=0):
    """What is wrong with so many changes inside the files of runs."""
    bases, faults = make_bases(folder), []
    for number, case in enumerate(draw_inside(count, seed, bases)):
        (folder / str(number)).mkdir()
        outcome = try_case(case, bases[case.base], folder / str(number))
        if outcome.fault:
            faults.append((case.script, case.changes, outcome))
    return faults


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_four_files_are_refused_or_taken_at_their_word(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not tried(4, tmp_path)


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")
def test_more_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not tried(40, tmp_path, seed=1)


def test_faults_are_told_from_good_ends():
    """What the judge is for."""
    given = ["optimizer.lr=-1"]
    assert judged(1, "error: optimizer: lr must be > 0, found -1\n", given).verdict == "refused"
    assert judged(0, "", given).verdict == "ran"
    for status, stderr in (
        (1, "Traceback (most recent call last)\nKeyError: 3\n"),
        (1, "error: one\nerror: two, of optimizer\n"),
        (1, "error: something went wrong\n"),
        (1, "error: optimizer: Key is not in struct object_type=dict\n"),
        (1, ""),
        (2, "error: optimizer\n"),
        (0, "error: optimizer\n"),
    ):
        assert judged(status, stderr, given).fault, stderr


def test_equal_seeds_draw_equal_cases():
    settings = {"seed": 0, "optimizer.lr": 0.1, "data": {}, "trainer.deterministic": False}
    assert draw(40, 3, settings) == draw(40, 3, settings) != draw(40, 4, settings)
    assert {case.kind for case in draw(200, 0, settings)} == {kind.__name__ for kind in Fuzzer(settings, 0).kinds}
