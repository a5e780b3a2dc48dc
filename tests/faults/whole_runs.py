"""Whole runs in this process that something happens to."""

from tests.training.helpers import composed
from tracer_lightning.training import run as run_module


def run(tmp_path, *overrides, callback=None, monkeypatch=None):
    """A run in ``tmp_path/run``, with one more callback."""
    tmp_path.mkdir(exist_ok=True)
    if callback is not None:
        build = run_module.build_trainer

        def build_trainer(cfg, **options):
            trainer = build(cfg, **options)
            trainer.callbacks.insert(0, callback)
            return trainer

        with monkeypatch.context() as patch:
            patch.setattr(run_module, "build_trainer", build_trainer)
            return run_module.run(composed(tmp_path, *overrides))
    return run_module.run(composed(tmp_path, *overrides))
