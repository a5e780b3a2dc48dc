import json
import subprocess
import sys

import pytest
import torch

from tracer_lightning.benchmarks import measuring
from tracer_lightning.benchmarks.measuring import in_turn, machine, ratio, spread, write_json


def test_all_have_their_turn_in_every_round(monkeypatch):
    calls, clock = [], iter(range(100))
    monkeypatch.setattr(measuring, "now", lambda: next(clock))
    result = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert calls == ["a", "b", "a", "b", "b", "a"]  # the first round is not counted
    assert result.seconds == {"a": [1, 1], "b": [1, 1]}
    assert result.peaks["a"]["host"] > 1e6


def test_ratios_are_those_of_pairs():
    assert ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]) == {"median": 3.0, "range": [2.0, 4.0]}
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "range": [1.0, 3.0]}
    with pytest.raises(ValueError):
        ratio([1.0], [1.0, 2.0])


@pytest.mark.slow
@pytest.mark.skipif(not measuring.RESET_PEAK[0].exists(), reason="the system can't forget the peak")
def test_the_peak_is_that_of_the_work():
    """In a young process: one that was large has memory to spare."""
    size = 64 * 2**20
    code = (
        "import torch; from tracer_lightning.benchmarks.measuring import peak_memory;"
        f"print(*(peak_memory(lambda: torch.ones(number))['host'] for number in (1, {size // 4}, 1)))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    little, much, little_again = map(int, process.stdout.split())
    assert much - little > size / 2
    assert much - little_again > size / 2


def test_the_machine_is_written_with_the_results(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "CPU_INFO", tmp_path / "cpuinfo")
    assert machine()["processor"]
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU\nmodel name\t: Some CPU\n")
    write_json(tmp_path / "found.json", {"a": 1})
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["results"] == {"a": 1}
    assert written["machine"]["processor"] == "Some CPU"
    assert written["machine"]["threads"] == torch.get_num_threads()
