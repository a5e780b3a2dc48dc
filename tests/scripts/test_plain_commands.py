"""Random arguments of the commands without Hydra: each call ends well, or in one clear line."""

import random

import pytest

from scripts import toy
from tests.commands.helpers import collect, dynamics
from tests.fuzzing.overrides import VALUES
from tests.reporting.run_folders import scores, write_run

COMMANDS = {
    "collect": (collect, {"--model": 1, "--metrics": 2, "--sets": 2, "--out": 1, "--nowhere": 1}),
    "dynamics": (dynamics, {"--out": 1, "--nowhere": 1}),
    "toy": (toy.main, {"--out": 1, "--nowhere": 0}),
}
"""Entry, and how many values each option has."""
LIKELY = (
    "student",
    "teacher",
    "all",
    "accuracy",
    "ece",
    "macro_f1",
    "avg_ood",
    "good",
    "bad",
    "*",
    "[",
    ".",
    "good/..",
)
CASES = 25


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_arguments(name, tmp_path, monkeypatch, capsys):
    main, options = COMMANDS[name]
    for seed in (0, 1):
        write_run(tmp_path / f"good/{seed}", scores(0.9, 0.2), seed=seed)
    write_run(tmp_path / "bad/0", scores(0.9, 0.2))
    (tmp_path / "bad/0/results.json").write_text('{"student": [')
    monkeypatch.chdir(tmp_path)
    draw, values = random.Random(0), [value.strip("'") for value in VALUES]

    def value():
        return draw.choice(LIKELY if draw.random() < 0.6 else values)

    for _ in range(CASES):
        arguments = [value() if draw.random() < 0.3 else "good"]
        for option in draw.sample(sorted(options), draw.randrange(len(options))):
            arguments += [option, *(value() for _ in range(options[option]))]
        status = main(arguments)
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert (status, len(errors)) in ((0, 0), (1, 1)), (arguments, status, errors)
