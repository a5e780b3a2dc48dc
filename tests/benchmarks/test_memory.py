"""Memory of training."""

import pytest

from tracer_lightning.benchmarks import memory
from tracer_lightning.benchmarks.memory import MemoryOptions, measure_in_subprocess


@pytest.mark.exhaustive
def test_fewer_activations_take_less_memory():
    """Real processes and a real ViT."""
    base = MemoryOptions("ViT-B-32", "tracer", 24, False, None, "cpu", "32-true")
    plain, thrifty = measure_in_subprocess(base), measure_in_subprocess(base._replace(micro_batch=4))
    assert thrifty["peak"] < plain["peak"] - 300
    assert plain["imports"] < thrifty["peak"] < 8000


@pytest.mark.exhaustive
def test_other_failures_than_lack_of_memory_are_raised():
    with pytest.raises(RuntimeError, match="no-such-model"):
        measure_in_subprocess(MemoryOptions("no-such-model", "flyp", 2, False, None, "cpu", "32-true"))


def test_a_killed_measurement_has_no_peak(monkeypatch):
    class Killed:
        returncode, stderr, stdout = -9, "", ""

    monkeypatch.setattr(memory.subprocess, "run", lambda *args, **kwargs: Killed)
    result = measure_in_subprocess(MemoryOptions("ViT-B-32", "flyp", 2, False, None, "cpu", "32-true"))
    assert result["peak"] is None
    assert result["batch_size"] == 2
