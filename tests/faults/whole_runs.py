"""Whole runs in this process that something happens to."""

from contextlib import nullcontext

from tests.commands.helpers import composed, with_callback
from tracer_lightning.commands import train as run_module


def run(tmp_path, *overrides, callback=None):
    """A run in ``tmp_path/run``, with one more callback."""
    tmp_path.mkdir(exist_ok=True)
    with nullcontext() if callback is None else with_callback(callback):
        return run_module.run(composed(tmp_path, *overrides))
