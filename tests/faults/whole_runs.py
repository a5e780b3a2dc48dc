"""Whole runs in this process that something happens to."""

from tests.commands.helpers import composed
from tracer_lightning.commands import train


def run(tmp_path, *overrides, callbacks=()):
    """A run in ``tmp_path/run``, with further callbacks."""
    tmp_path.mkdir(exist_ok=True)
    return train.run(composed(tmp_path, *overrides), callbacks=callbacks)
