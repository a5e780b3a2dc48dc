import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark_gpu.sh"


def run(*arguments, python=sys.executable):
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)], env={**os.environ, "PYTHON": python}, capture_output=True, text=True
    )


def test_all_limits_together_are_less_than_ten_minutes():
    full = SCRIPT.read_text().split("else\n")[1]
    limits = [int(limit) for limit in re.findall(r"^  (?:part|benchmark) [\w-]+ (\d+)", full, re.M)]
    assert len(limits) == 5
    assert sum(limits) + 5 * len(limits) < 600  # 5 s more until what does not end is killed


def test_a_failing_part_is_told_and_does_not_stop_the_others(tmp_path):
    ran = run(tmp_path, "--cpu-rehearsal", python="false")
    assert ran.returncode == 1
    for name in ("tests", "step", "teacher", "eval"):
        assert f"== {name}: status 1" in ran.stdout


def test_without_a_folder_it_says_how_it_is_used():
    ran = run()
    assert ran.returncode == 2
    assert "scripts/benchmark_gpu.sh FOLDER" in ran.stdout


@pytest.mark.exhaustive
def test_rehearsal(tmp_path):
    ran = run(tmp_path, "--cpu-rehearsal")
    assert ran.returncode == 0, ran.stdout
    assert "skipped" in (tmp_path / "tests.txt").read_text() or "passed" in (tmp_path / "tests.txt").read_text()
    for name in ("step", "teacher", "eval"):
        assert json.loads((tmp_path / f"{name}.json").read_text())["results"]
